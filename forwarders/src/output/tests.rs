//! Tests of the thread of an output and of the waiting for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::lines::Lines;
use super::thread::{Output, OutputName, WriteError};
use super::writer::LineWriter;
use crate::delivery::forwarder::SendError;
use crate::delivery::payload::Batch;

const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

/// How a write ends.
enum End {
    Written,
    /// After this many bytes.
    Fails(usize),
}

/// An output whose writes end when the test says so.
struct Slow {
    /// Each write that starts, with its bytes.
    started: Sender<Vec<u8>>,
    ends: Receiver<End>,
}

impl Output for Slow {
    fn write(&mut self, lines: &mut Lines) -> Result<(), WriteError> {
        self.started.send(lines.rest().to_vec()).unwrap();
        match self.ends.recv().unwrap() {
            End::Written => lines.advance(lines.rest().len()),
            End::Fails(after) => {
                lines.advance(after);
                return Err(WriteError::Failed(SendError::transient("full")));
            }
        }
        Ok(())
    }
}

/// The controls of a [`Slow`] output.
struct Controls {
    started: Receiver<Vec<u8>>,
    end: Sender<End>,
}

/// A writer to an output with this name, unless a thread writes to it already.
fn writer(name: &str, patience: Duration) -> (LineWriter, Controls) {
    let ((started, starts), (end, ends)) = (channel(), channel());
    let slow = std::sync::Mutex::new(Some(Slow { started, ends }));
    let output = move || slow.lock().unwrap().take().unwrap();
    let writer = LineWriter::new(OutputName::File(name.into()), output, patience);
    (writer, Controls { started: starts, end })
}

fn batch(payloads: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for payload in payloads {
        batch.push(1, |_| (), |out| out.extend_from_slice(payload.as_bytes()));
    }
    batch
}

impl Controls {
    fn next_start(&self) -> String {
        String::from_utf8(self.started.recv_timeout(LONG).unwrap()).unwrap()
    }

    fn assert_nothing_starts(&self) {
        assert!(self.started.try_recv().is_err());
    }

    fn end(&self, end: End) {
        self.end.send(end).unwrap();
    }
}

#[tokio::test]
async fn a_write_that_ends_late_is_written_and_counted_once() {
    let (mut writer, controls) = writer("late", SHORT);
    let mut batch = batch(&["a\n", "b\n"]);
    for _ in 0..3 {
        let error = writer.send(&mut batch).await.unwrap_err().to_string();
        assert!(error.contains("has not returned within 1ms (delivery.timeout)"), "{error}");
    }
    assert_eq!(controls.next_start(), "a\n");
    controls.assert_nothing_starts();
    assert_eq!(batch.points_pending(), 2);
    controls.end(End::Written);
    controls.end(End::Written);
    while writer.send(&mut batch).await.is_err() {}
    assert_eq!(controls.next_start(), "b\n");
    controls.assert_nothing_starts();
    assert_eq!(batch.take_settled().delivered, 2);
}

#[tokio::test]
async fn a_retry_continues_with_the_rest() {
    let (mut writer, controls) = writer("rest", LONG);
    let mut batch = batch(&["ab\n"]);
    controls.end(End::Fails(1));
    assert_eq!(writer.send(&mut batch).await.unwrap_err().to_string(), "full");
    controls.end(End::Written);
    writer.send(&mut batch).await.unwrap();
    assert_eq!([controls.next_start(), controls.next_start()], ["ab\n", "b\n"]);
    assert!(batch.is_settled());
}

#[tokio::test]
async fn a_successor_waits_for_the_write_of_the_forwarder_before_it() {
    let (mut first, controls) = writer("successor", SHORT);
    first.send(&mut batch(&["a\n"])).await.unwrap_err();
    assert_eq!(controls.next_start(), "a\n");
    drop(first);
    let (mut second, _unused) = writer("successor", SHORT);
    let mut batch = batch(&["b\n"]);
    second.send(&mut batch).await.unwrap_err();
    controls.assert_nothing_starts();
    // The lines of a third one that is dropped before its turn are not written.
    let (mut third, _unused) = writer("successor", SHORT);
    third.send(&mut self::batch(&["c\n"])).await.unwrap_err();
    drop(third);
    controls.end(End::Written);
    controls.end(End::Written);
    while second.send(&mut batch).await.is_err() {}
    assert_eq!(controls.next_start(), "b\n");
    controls.assert_nothing_starts();
    assert_eq!(batch.take_settled().delivered, 1);
}

#[tokio::test]
async fn an_abandoned_write_is_not_counted_for_the_next_batch() {
    let (mut writer, controls) = writer("abandoned", SHORT);
    writer.send(&mut batch(&["a\n"])).await.unwrap_err();
    writer.begin();
    let mut next = batch(&["b\n"]);
    controls.end(End::Written);
    controls.end(End::Fails(0));
    while writer.send(&mut next).await.unwrap_err().to_string() != "full" {}
    assert_eq!([controls.next_start(), controls.next_start()], ["a\n", "b\n"]);
    assert_eq!(next.points_pending(), 1);
}

#[tokio::test]
async fn a_write_that_ends_during_the_stop_is_counted() {
    let (mut writer, controls) = writer("stop", SHORT);
    let mut batch = batch(&["a\n", "b\n"]);
    writer.send(&mut batch).await.unwrap_err();
    controls.end(End::Written);
    writer.collect(&mut batch).await;
    writer.collect(&mut batch).await;
    assert_eq!(controls.next_start(), "a\n");
    controls.assert_nothing_starts();
    assert_eq!(batch.take_settled().delivered, 1);
}
