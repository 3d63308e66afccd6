//! The state as bytes, for the next run of the daemon or for the forwarder that replaces this one.
//!
//! ```text
//! list of percentiles · entries to the end
//! entry 3, a series that is shown:
//!     kind · series · created (Unix ms) · is shared · value ·
//!     list of (kind · series of the pipeline · idle time (ms))
//! entry 4, an expired series: hash (16 bytes) · created (Unix ms) · value
//!
//! value 0, a total: sum · shown total
//! value 1, a gauge or set: the latest value
//! value 2, a timer: count · sum · list of the percentiles' values
//! value 3, a timer with histograms: as value 2, then
//!     bits (1: classic, 2: native) · list of bounds, a count for each · native histogram
//! native histogram: schema · zeros · two lists of (index · count)
//! ```
//!
//! Earlier versions wrote entries 1 and 2, which lack the time of creation.
//!
//! Series that are shown come first, then the expired ones, the latest first: a bound cuts off the
//! totals that are least likely to be needed.

use std::sync::Arc;
use std::time::Duration;

use super::expired::{ExpiredTotal, hash};
use super::{Shown, Slot, SlotId, State};
use crate::delivery::forwarder::SavedState;
use crate::prometheus::native::{IndexedCounts, NativeHistogram};
use crate::prometheus::timer_total::{ClassicBuckets, TimerTotal};
use crate::restart::{put_series, read_series};
use crate::spool::leb128;
use crate::spool::primitives::{MalformedSnapshot, SnapshotReader, put_double, put_sum, put_text};
use model::{MetricKind, Percentile, Series};

/// Kinds; their index is their number. New kinds must be appended.
const KINDS: [MetricKind; 5] =
    [MetricKind::Counter, MetricKind::Gauge, MetricKind::Timer, MetricKind::Set, MetricKind::Trace];
/// The numbers of the entries. 1 and 2 are only read.
const SHOWN_WITHOUT_CREATION: u8 = 1;
const EXPIRED_WITHOUT_CREATION: u8 = 2;
const SHOWN_SERIES: u8 = 3;
const EXPIRED_SERIES: u8 = 4;
/// The numbers of the values.
const TOTAL: u8 = 0;
const LAST: u8 = 1;
/// A timer without histograms.
const SUMMARY: u8 = 2;
/// A timer with histograms.
const HISTOGRAMS: u8 = 3;

/// A state that was decoded and is not applied yet.
struct Decoded {
    percentiles: Arc<[Percentile]>,
    shown: Vec<ShownSeries>,
    /// The latest first.
    expired: Vec<(u128, ExpiredTotal)>,
}

/// A decoded series that the page shows.
struct ShownSeries {
    series: Series,
    created_ms: u64,
    is_shared: bool,
    shown: Shown,
    /// Its series of the pipeline, each with the time for which it had no sample.
    sources: Vec<(Arc<Series>, Duration)>,
}

impl State {
    /// Encodes the state in at most `max` bytes. A pending series is saved with its value before the
    /// latest window: its points are not delivered, and the next run adds them again.
    pub(in crate::prometheus) fn save(
        &self,
        is_pending: impl Fn(SlotId) -> bool,
        max: u64,
    ) -> SavedState {
        let mut out = Vec::new();
        put_percentiles(&mut out, &self.percentiles);
        let mut sources: Vec<Vec<(&Series, u64)>> = vec![Vec::new(); self.slots.len()];
        for (series, source) in &self.sources {
            let idle = self.elapsed.saturating_sub(source.last_seen).as_millis() as u64;
            sources[source.slot as usize].push((series, idle));
        }
        let mut before = vec![None; self.slots.len()];
        for (id, shown) in self.previous.iter().filter(|(id, _)| is_pending(*id)) {
            before[*id as usize] = Some(shown);
        }
        let shown =
            self.slots.iter().zip(&sources).zip(before).filter_map(|((slot, sources), before)| {
                let slot = slot.as_ref()?;
                Some(move |out: &mut Vec<u8>| {
                    put_shown_series(out, slot, before.unwrap_or(&slot.shown), sources);
                })
            });
        let mut left_out = put_while_fitting(&mut out, max, shown);
        let expired = self.expired.latest_first().map(|(hash, total)| {
            move |out: &mut Vec<u8>| {
                out.push(EXPIRED_SERIES);
                out.extend_from_slice(&hash.to_le_bytes());
                leb128::write(out, total.created_ms);
                put_shown(out, &total.shown);
            }
        });
        left_out += put_while_fitting(&mut out, max, expired);
        SavedState { bytes: out, left_out }
    }

    /// Continues with a state that was saved `away` ago. Series that have been idle for too long by now
    /// are kept like expired ones. All limits hold.
    ///
    /// # Errors
    /// When the bytes are not a saved state; nothing has changed then.
    pub(in crate::prometheus) fn restore(
        &mut self,
        bytes: &[u8],
        away: Duration,
    ) -> Result<(), MalformedSnapshot> {
        let Decoded { percentiles, shown, expired } = decode(bytes)?;
        self.percentiles = percentiles;
        for (hash, total) in expired.into_iter().rev() {
            self.expired.remember(hash, total);
        }
        // Makes room for idle times, which are subtracted from it and are shorter than this.
        self.elapsed += self.limits.expire_after;
        for mut series in shown {
            series.sources.iter_mut().for_each(|(_, idle)| *idle = idle.saturating_add(away));
            self.restore_series(series);
        }
        self.put_in_order();
        Ok(())
    }

    fn restore_series(&mut self, saved: ShownSeries) {
        let ShownSeries { series, created_ms, is_shared, shown, sources } = saved;
        let mut is_placed = false;
        let expire_after = self.limits.expire_after;
        for (source, idle) in sources.into_iter().filter(|(_, idle)| *idle < expire_after) {
            // Under the names of the current configuration, with which another series may show it.
            let Ok(id) = self.slot(&source, self.percentiles.len()) else { continue };
            if let Some(source) = self.sources.get_mut(&source) {
                source.last_seen = self.elapsed - idle;
            }
            if let Some(slot) = &mut self.slots[id as usize]
                && *slot.series == series
                && let Some(continued) = slot.shown.continued_from(&shown)
            {
                slot.shown = continued;
                slot.created_ms = created_ms;
                slot.is_shared |= is_shared;
                is_placed = true;
                self.fit_native(id);
            }
        }
        if !is_placed {
            self.expired.remember(hash(&series), ExpiredTotal { shown, created_ms });
        }
    }
}

/// Appends entries until the next one does not fit. Returns how many are left out.
fn put_while_fitting(
    out: &mut Vec<u8>,
    max: u64,
    mut entries: impl Iterator<Item = impl FnOnce(&mut Vec<u8>)>,
) -> u64 {
    while let Some(put) = entries.next() {
        let before = out.len();
        put(out);
        if out.len() as u64 > max {
            out.truncate(before);
            return 1 + entries.count() as u64;
        }
    }
    0
}

fn put_percentiles(out: &mut Vec<u8>, percentiles: &[Percentile]) {
    leb128::write(out, percentiles.len() as u64);
    for percentile in percentiles {
        // The decimal text of the label `p99_9`: 99.9.
        put_text(out, &percentile.label()[1..].replace('_', "."));
    }
}

fn put_shown_series(out: &mut Vec<u8>, slot: &Slot, shown: &Shown, sources: &[(&Series, u64)]) {
    out.push(SHOWN_SERIES);
    put_kind_and_series(out, &slot.series);
    leb128::write(out, slot.created_ms);
    out.push(u8::from(slot.is_shared));
    put_shown(out, shown);
    leb128::write(out, sources.len() as u64);
    for (series, idle) in sources {
        put_kind_and_series(out, series);
        leb128::write(out, *idle);
    }
}

fn put_kind_and_series(out: &mut Vec<u8>, series: &Series) {
    let kind = KINDS.iter().position(|kind| *kind == series.kind());
    debug_assert!(kind.is_some(), "a kind without a number");
    out.push(kind.unwrap_or_default() as u8);
    put_series(out, series);
}

fn put_shown(out: &mut Vec<u8>, shown: &Shown) {
    match shown {
        Shown::Total { sum, shown } => {
            out.push(TOTAL);
            put_sum(out, *sum);
            put_double(out, *shown);
        }
        Shown::Last(value) => {
            out.push(LAST);
            put_double(out, *value);
        }
        Shown::Timer(total) => put_timer(out, total),
    }
}

fn put_timer(out: &mut Vec<u8>, total: &TimerTotal) {
    let has_histograms = total.classic.is_some() || total.native.is_some();
    out.push(if has_histograms { HISTOGRAMS } else { SUMMARY });
    put_sum(out, total.count);
    put_sum(out, total.sum);
    leb128::write(out, total.percentiles.len() as u64);
    total.percentiles.iter().for_each(|value| put_double(out, *value));
    if has_histograms {
        out.push(u8::from(total.classic.is_some()) | u8::from(total.native.is_some()) << 1);
        total.classic.iter().for_each(|classic| put_classic(out, classic));
        total.native.iter().for_each(|native| put_native(out, native));
    }
}

fn put_classic(out: &mut Vec<u8>, classic: &ClassicBuckets) {
    leb128::write(out, classic.bounds().len() as u64);
    classic.bounds().iter().for_each(|bound| put_double(out, *bound));
    classic.counts().for_each(|(_, count)| put_double(out, count));
}

fn put_native(out: &mut Vec<u8>, native: &NativeHistogram) {
    let (schema, zero, positive, negative) = native.parts();
    out.push(schema as u8);
    leb128::write(out, zero);
    for buckets in [positive, negative] {
        leb128::write(out, buckets.len() as u64);
        for (index, count) in buckets {
            out.extend_from_slice(&index.to_le_bytes());
            leb128::write(out, *count);
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Decoded, MalformedSnapshot> {
    let mut reader = SnapshotReader(bytes);
    let percentiles: Arc<[Percentile]> = reader
        .list(|reader| Percentile::parse(reader.text()?).map_err(|_| MalformedSnapshot))?
        .into();
    let (mut shown, mut expired) = (Vec::new(), Vec::new());
    while !reader.0.is_empty() {
        match reader.byte()? {
            kind @ (SHOWN_SERIES | SHOWN_WITHOUT_CREATION) => {
                shown.push(read_shown_series(&mut reader, kind == SHOWN_SERIES)?);
            }
            kind @ (EXPIRED_SERIES | EXPIRED_WITHOUT_CREATION) => {
                let hash = read_hash(&mut reader)?;
                let created_ms = if kind == EXPIRED_SERIES { reader.number()? } else { 0 };
                expired.push((hash, ExpiredTotal { created_ms, shown: read_shown(&mut reader)? }));
            }
            _ => return Err(MalformedSnapshot),
        }
    }
    Ok(Decoded { percentiles, shown, expired })
}

fn read_shown_series(
    reader: &mut SnapshotReader<'_>,
    has_creation: bool,
) -> Result<ShownSeries, MalformedSnapshot> {
    Ok(ShownSeries {
        series: read_kind_and_series(reader)?,
        created_ms: if has_creation { reader.number()? } else { 0 },
        is_shared: reader.byte()? != 0,
        shown: read_shown(reader)?,
        sources: reader.list(|reader| {
            let source = Arc::new(read_kind_and_series(reader)?);
            Ok((source, Duration::from_millis(reader.number()?)))
        })?,
    })
}

fn read_kind_and_series(reader: &mut SnapshotReader<'_>) -> Result<Series, MalformedSnapshot> {
    let kind = *KINDS.get(usize::from(reader.byte()?)).ok_or(MalformedSnapshot)?;
    read_series(reader, kind)
}

fn read_hash(reader: &mut SnapshotReader<'_>) -> Result<u128, MalformedSnapshot> {
    let bytes = reader.take(size_of::<u128>())?;
    Ok(u128::from_le_bytes(bytes.try_into().map_err(|_| MalformedSnapshot)?))
}

fn read_shown(reader: &mut SnapshotReader<'_>) -> Result<Shown, MalformedSnapshot> {
    Ok(match reader.byte()? {
        TOTAL => Shown::Total { sum: reader.sum()?, shown: read_finite(reader)? },
        LAST => Shown::Last(read_finite(reader)?),
        form @ (SUMMARY | HISTOGRAMS) => {
            let mut total = TimerTotal {
                count: reader.sum()?,
                sum: reader.sum()?,
                percentiles: reader.list(read_finite)?.into(),
                ..TimerTotal::default()
            };
            let parts = if form == HISTOGRAMS { reader.byte()? } else { 0 };
            total.classic = (parts & 1 != 0).then(|| read_classic(reader)).transpose()?;
            total.native =
                (parts & 2 != 0).then(|| read_native(reader).map(Box::new)).transpose()?;
            Shown::Timer(Box::new(total))
        }
        _ => return Err(MalformedSnapshot),
    })
}

fn read_classic(reader: &mut SnapshotReader<'_>) -> Result<ClassicBuckets, MalformedSnapshot> {
    let bounds = reader.list(read_finite)?;
    let counts: Result<Vec<f64>, _> = bounds.iter().map(|_| read_finite(reader)).collect();
    ClassicBuckets::from_parts(bounds, counts?).ok_or(MalformedSnapshot)
}

fn read_native(reader: &mut SnapshotReader<'_>) -> Result<NativeHistogram, MalformedSnapshot> {
    let schema = reader.byte()? as i8;
    let zero = reader.number()?;
    let (positive, negative) = (read_buckets(reader)?, read_buckets(reader)?);
    NativeHistogram::from_parts(schema, zero, positive, negative).ok_or(MalformedSnapshot)
}

fn read_buckets(reader: &mut SnapshotReader<'_>) -> Result<IndexedCounts, MalformedSnapshot> {
    reader.list(|reader| {
        let index = reader.take(size_of::<i32>())?;
        let index = index.try_into().map_err(|_| MalformedSnapshot)?;
        Ok((i32::from_le_bytes(index), reader.number()?))
    })
}

fn read_finite(reader: &mut SnapshotReader<'_>) -> Result<f64, MalformedSnapshot> {
    Some(reader.double()?).filter(|value| value.is_finite()).ok_or(MalformedSnapshot)
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use model::Sum;

    #[test]
    fn a_state_without_times_of_creation_is_read() {
        let limits = Limits {
            expire_after: Duration::from_secs(60),
            series_max: 10,
            bytes_max: 1 << 20,
            expired_max: 10,
        };
        let tags: [(&str, &str); 0] = [];
        let series = Series::new(MetricKind::Counter, "c", &tags);
        let total = Shown::Total { sum: Sum::of(7.0), shown: 7.0 };
        let mut bytes = Vec::new();
        put_percentiles(&mut bytes, &[]);
        bytes.push(SHOWN_WITHOUT_CREATION);
        put_kind_and_series(&mut bytes, &series);
        bytes.push(0);
        put_shown(&mut bytes, &total);
        leb128::write(&mut bytes, 1);
        put_kind_and_series(&mut bytes, &series);
        leb128::write(&mut bytes, 10);
        bytes.push(EXPIRED_WITHOUT_CREATION);
        bytes.extend_from_slice(&1_u128.to_le_bytes());
        put_shown(&mut bytes, &Shown::Timer(Box::default()));
        let mut state = State::new(limits, None);
        state.restore(&bytes, Duration::ZERO).unwrap();
        let mut shown = state.families().flat_map(|(.., slots)| slots);
        let slot = shown.next().unwrap();
        assert_eq!(slot.created_ms, 0);
        assert!(matches!(slot.shown, Shown::Total { shown: 7.0, .. }));
        assert_eq!(state.expired.latest_first().count(), 1);
    }
}
