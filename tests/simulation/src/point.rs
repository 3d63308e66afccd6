//! A point on its way to a destination.

use std::sync::Arc;
use std::time::Duration;

use forwarders::payload::Payload;
use model::Snapshot;

/// What happened to a point of one destination. Its value identifies the point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// The windows that contained it: the first and the last one. They differ for a point of a window
    /// that a restart divided.
    pub(crate) first_window: u32,
    pub(crate) last_window: u32,
    pub(crate) end_ms: u64,
    pub(crate) pushed: u16,
    /// How often the destination stored it.
    pub(crate) applied: u16,
    pub(crate) acknowledged: u16,
    pub(crate) refused: u16,
    /// How often a crash may have made the daemon forget that it was settled.
    pub(crate) excused: u16,
}

impl Fate {
    pub(crate) fn settled(&self) -> u16 {
        self.acknowledged + self.refused
    }

    /// How often it may still be settled.
    pub(crate) fn open(&self) -> u16 {
        (self.pushed + self.excused).saturating_sub(self.settled())
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.open() == 0
    }
}

/// A window that a queue has received.
#[derive(Clone, Debug)]
pub(crate) struct PushedWindow {
    pub(crate) at: Duration,
    pub(crate) start_ms: u64,
    /// The values of its points.
    pub(crate) values: Vec<u64>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// A point as a destination receives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedPoint {
    pub(crate) value: u64,
    pub(crate) end_ms: u64,
    pub(crate) series: u8,
}

/// Bytes of a point in a payload.
const POINT_BYTES: usize = 17;

impl ReceivedPoint {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.value.to_le_bytes());
        out.extend_from_slice(&self.end_ms.to_le_bytes());
        out.push(self.series);
    }

    pub(crate) fn decode(payload: &Payload<'_>) -> Vec<Self> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let point = |bytes: &[u8]| Self {
            value: number(&bytes[..8]),
            end_ms: number(&bytes[8..16]),
            series: bytes[16],
        };
        payload.bytes.chunks(POINT_BYTES).map(point).collect()
    }
}

/// The points of a snapshot.
pub(crate) fn points_of(snapshot: &Snapshot) -> impl Iterator<Item = ReceivedPoint> + '_ {
    let end_ms = snapshot.window.end_ms;
    snapshot.points.iter().map(move |point| {
        let series = point.series.name().as_bytes()[1];
        let value = match point.value.headline() as u64 {
            0 => IDLE | end_ms << 8 | u64::from(series),
            value => value,
        };
        ReceivedPoint { value, end_ms, series }
    })
}

/// Set in the number of a point of an idle series. Its value is 0, so the window and the series identify
/// it.
const IDLE: u64 = 1 << 63;
