//! Decodes bytes of datagrams into samples or rejections.

use benches::datagrams::DatagramList;
use benches::message_format::{self, MessageFormat};
use benches::rejects::{self, Rejects};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

const METRICS: usize = 1_000;
const ROUNDS: usize = 100;

fn main() {
    divan::main();
}

#[divan::bench(args = message_format::ALL)]
fn accepted(bencher: Bencher<'_, '_>, format: &MessageFormat) {
    let datagrams = DatagramList::of_metrics(format, METRICS, 0..1);
    let samples = METRICS * format.samples;
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
