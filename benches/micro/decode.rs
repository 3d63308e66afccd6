//! Bytes of datagrams into samples, or into rejections.

use benches::datagrams::Datagrams;
use benches::rejects::{self, Rejects};
use benches::wording::{self, Wording};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const METRICS: usize = 1_000;
const ROUNDS: usize = 100;

fn main() {
    divan::main();
}

#[divan::bench(args = wording::ALL)]
fn accepted(bencher: Bencher<'_, '_>, wording: &Wording) {
    let datagrams = Datagrams::of_metrics(wording, METRICS, 0..1);
    let samples = METRICS * wording.samples;
    assert_eq!(datagrams.decode(), (samples, 0), "samples, rejections");
    bencher.counter(ItemsCount::new(samples)).bench_local(|| black_box(&datagrams).decode());
}

#[divan::bench(args = rejects::ALL)]
fn rejected(bencher: Bencher<'_, '_>, rejects: &Rejects) {
    let datagrams = rejects.datagrams(ROUNDS);
    let rejections = datagrams.iter().len();
    assert_eq!(datagrams.decode(), (0, rejections), "samples, rejections");
    bencher.counter(ItemsCount::new(rejections)).bench_local(|| black_box(&datagrams).decode());
}
