//! Several listeners at once: the cost of a datagram, the cost of a flush, and the memory that they
//! share.
//!
//! ```text
//! listeners parallel LISTENERS   all record at the same time; CPU time of a datagram
//! listeners flush LISTENERS      all have samples of every series; instructions or time of a flush
//! listeners turns LISTENERS      they take turns; for benches/sharing.py, which traces their memory
//! ```

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use benches::datagrams::DatagramList;
use benches::listeners::{BenchListener, listeners};
use benches::message_format::{self, MessageFormat};

const FORMAT: &MessageFormat = &message_format::DOGSTATSD;
const SERIES: usize = 1_000;
/// Datagrams of each series that a listener records in the measured part.
const ROUNDS: usize = 200;
const ROUNDS_IN_TURNS: usize = 2;

/// Marks the turns in a trace of memory accesses, which does not contain threads: a store to an element
/// begins the turn of a listener, and a store to the last element ends it.
static MARKS: [AtomicU8; 129] = [const { AtomicU8::new(0) }; 129];
const END: usize = 128;

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = arguments.get(1).and_then(|text| text.parse().ok());
    match (arguments.first().map(String::as_str), number) {
        (Some("parallel"), Some(number @ 1..=64)) => parallel(number),
        (Some("flush"), Some(number @ 1..=64)) => flush(number),
        (Some("turns"), Some(number @ 1..=64)) => turns(number),
        _ => {
            eprintln!("usage: listeners parallel|flush|turns LISTENERS");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The code whose instructions callgrind counts.
#[inline(never)]
fn counted_region(work: &mut dyn FnMut()) {
    work();
    black_box(work);
}

/// Datagrams that are only in this thread's memory.
fn datagrams(rounds: usize) -> DatagramList {
    DatagramList::of_metrics(FORMAT, SERIES, 0..rounds)
}

/// Runs `work` for each listener on a separate thread.
fn on_threads(list: &mut [BenchListener], work: impl Fn(usize, &mut BenchListener) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for (index, listener) in list.iter_mut().enumerate() {
            scope.spawn(move || work(index, listener));
        }
    });
}

#[allow(clippy::print_stdout)]
fn parallel(number: usize) {
    let (_aggregator, mut list) = listeners(FORMAT.protocol, number);
    let (start, total) = (Barrier::new(number), Mutex::new(0_u64));
    on_threads(&mut list, |_, listener| {
        let (warm_up, measured) = (datagrams(2), datagrams(2));
        listener.record(&warm_up);
        start.wait();
        let before = thread_cpu_ns();
        counted_region(&mut || (0..ROUNDS / 2).for_each(|_| listener.record(&measured)));
        *total.lock().expect("no panic") += thread_cpu_ns() - before;
    });
    let total = total.into_inner().expect("no panic");
    println!("{:.1} ns a datagram", total as f64 / (number * SERIES * ROUNDS) as f64);
}

#[allow(clippy::print_stdout)]
fn flush(number: usize) {
    let (mut aggregator, mut list) = listeners(FORMAT.protocol, number);
    let fill = |list: &mut [BenchListener]| {
        on_threads(list, |_, listener| listener.record(&datagrams(1)));
    };
    for _ in 0..2 {
        fill(&mut list);
        aggregator.call();
        list.iter_mut().for_each(BenchListener::hand_over);
        aggregator.flush();
    }
    fill(&mut list);
    aggregator.call();
    list.iter_mut().for_each(BenchListener::hand_over);
    let (mut outcome, began) = ((0, 0), Instant::now());
    counted_region(&mut || outcome = aggregator.flush());
    assert_eq!(outcome, (number, SERIES), "tallies, points");
    println!("{:.1} ns a series", began.elapsed().as_nanos() as f64 / SERIES as f64);
}

#[allow(clippy::print_stdout)]
fn turns(number: usize) {
    let (_aggregator, mut list) = listeners(FORMAT.protocol, number);
    let (turn, changed) = (Mutex::new(0), Condvar::new());
    let all = Barrier::new(number);
    on_threads(&mut list, |index, listener| {
        let measured = datagrams(1);
        // Each listener has allocated its memory before the first turn.
        listener.record(&measured);
        all.wait();
        for round in 0..ROUNDS_IN_TURNS {
            let mine = round * number + index;
            let guard = turn.lock().expect("no panic");
            let mut guard = changed.wait_while(guard, |turn| *turn != mine).expect("no panic");
            MARKS[index].store(1, Ordering::SeqCst);
            listener.record(&measured);
            MARKS[END].store(1, Ordering::SeqCst);
            *guard += 1;
            changed.notify_all();
        }
    });
    println!("{:#x}", MARKS.as_ptr() as usize);
}

/// CPU time of this thread.
fn thread_cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default()
}
