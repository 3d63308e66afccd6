//! The bins of a DDSketch, read from the library's sketch and written back to one.
//!
//! The library exports its bins only in the binary format that all of Datadog's sketch libraries
//! share, so they are read from that. To restore a sketch, each bin is added as a value in the middle
//! of the bin.

use sketches_ddsketch::{Config, DDSketch};

/// The counts of a sketch, which divides the values into bins of equal relative width.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bins {
    /// The count of values that are zero, or too small for a bin.
    pub zero: u64,
    /// The bins of positive values as (index, count), sorted by index.
    pub positive: Vec<(i32, u64)>,
    /// The bins of negative values by their magnitude, in the same form.
    pub negative: Vec<(i32, u64)>,
}

/// A larger total would overflow a sketch's counters.
const COUNT_MAX: u64 = 1 << 63;

impl Bins {
    /// The bins of a sketch.
    pub(super) fn of(sketch: &DDSketch) -> Self {
        let bytes = sketch.to_java_bytes();
        let bins = BinsReader(&bytes).bins();
        debug_assert!(bins.is_some(), "the library has changed its format");
        bins.unwrap_or_default()
    }

    /// The bins in the order of their values, as (value in the middle of the bin, count).
    pub(super) fn in_order(&self, config: &Config) -> impl Iterator<Item = (f64, u64)> {
        let negative = self.negative.iter().rev().map(|bin| (-config.value(bin.0), bin.1));
        let zero = Some((0.0, self.zero)).filter(|(_, count)| *count > 0);
        let positive = self.positive.iter().map(|bin| (config.value(bin.0), bin.1));
        negative.chain(zero).chain(positive)
    }

    /// A sketch with these bins; `None` if their counts would overflow it.
    pub(super) fn into_sketch(self, config: Config) -> Option<DDSketch> {
        let mut total = self.zero;
        for (_, count) in self.positive.iter().chain(&self.negative) {
            total = total.checked_add(*count).filter(|total| *total < COUNT_MAX)?;
        }
        let mut sketch = DDSketch::new(config);
        sketch.add_with_count(0.0, self.zero);
        // The sketch counts anything up to the limit itself as zero.
        let lowest = config.min_possible().next_up();
        let middle = |index: i32| config.value(index).clamp(lowest, f64::MAX);
        for (index, count) in self.positive {
            sketch.add_with_count(middle(index), count);
        }
        for (index, count) in self.negative {
            sketch.add_with_count(-middle(index), count);
        }
        Some(sketch)
    }
}

/// Reads the shared binary format as `to_java_bytes` writes it: flags, each followed by its value.
struct BinsReader<'a>(&'a [u8]);

impl BinsReader<'_> {
    fn bins(&mut self) -> Option<Bins> {
        let mut bins = Bins::default();
        while !self.0.is_empty() {
            match self.byte()? {
                // Index mapping: base and offset, which the configuration has too.
                0x02 => self.skip(16)?,
                0x04 => bins.zero = self.var_double()? as u64,
                0x05 => bins.positive = self.store()?,
                0x07 => bins.negative = self.store()?,
                // Sum, smallest and largest value.
                0x84 | 0x88 | 0x8c => self.skip(8)?,
                // The total count.
                0xa0 => drop(self.var_double()?),
                _ => return None,
            }
        }
        Some(bins)
    }

    /// Differences between indexes, each with its count.
    fn store(&mut self) -> Option<Vec<(i32, u64)>> {
        let mut index = 0_i64;
        (0..self.var_int()?)
            .map(|_| {
                let zigzag = self.var_int()?;
                // The lowest bit is the sign, so that small differences are short in both
                // directions.
                index += ((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64);
                Some((i32::try_from(index).ok()?, self.var_double()? as u64))
            })
            .collect()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    /// An integer of seven bits a byte, the lowest first; a ninth byte has eight.
    fn var_int(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = u64::from(self.byte()?);
            if byte < 0x80 || shift == 56 {
                return Some(value | byte << shift);
            }
            value |= (byte & 0x7f) << shift;
            shift += 7;
        }
    }

    /// The bits of a double plus one, rotated so that small whole numbers are short; seven bits a
    /// byte, the highest first.
    fn var_double(&mut self) -> Option<f64> {
        let (mut bits, mut shift) = (0, 57);
        loop {
            let byte = u64::from(self.byte()?);
            if shift == 1 {
                bits |= byte;
                break;
            }
            bits |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            shift -= 7;
        }
        Some(f64::from_bits(bits.rotate_right(6).wrapping_add(1_f64.to_bits())) - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config() -> Config {
        Config::new(0.005, 4_096, 1e-12)
    }

    fn round_trip(values: &[(f64, u64)]) {
        let mut sketch = DDSketch::new(config());
        values.iter().for_each(|(value, count)| sketch.add_with_count(*value, *count));
        let bins = Bins::of(&sketch);
        let again = bins.clone().into_sketch(config()).unwrap();
        assert_eq!(Bins::of(&again), bins);
        let total: u64 = values.iter().map(|(_, count)| count).sum();
        let counted = bins.positive.iter().chain(&bins.negative).map(|(_, count)| count);
        assert_eq!(bins.zero + counted.sum::<u64>(), total);
        for step in 1..100 {
            // At the ends a sketch has the exact smallest and largest value, which bins do not have.
            let quantile = f64::from(step) / 100.0;
            let got = (again.quantile(quantile).unwrap(), sketch.quantile(quantile).unwrap());
            assert_eq!(got.0, got.1, "{quantile}");
        }
    }

    #[test]
    fn bins_are_in_the_order_of_their_values() {
        let mut sketch = DDSketch::new(config());
        for (value, count) in [(3.0, 1), (-2.0, 4), (0.0, 7), (5.0, 2), (-9.0, 3)] {
            sketch.add_with_count(value, count);
        }
        let bins = Bins::of(&sketch);
        let counts: Vec<_> = bins.in_order(&config()).map(|(_, count)| count).collect();
        assert_eq!(counts, [3, 4, 7, 1, 2]);
        assert!(bins.in_order(&config()).is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_ends_of_the_range_stay_in_their_bins() {
        let small = 1e-12_f64.next_up();
        round_trip(&[(f64::MAX, 3), (f64::MIN, 1), (small, 2), (-small, 5), (0.0, 7), (1e-13, 1)]);
    }

    #[test]
    fn bins_that_would_overflow_a_sketch_are_refused() {
        let many = Bins { zero: u64::MAX, positive: vec![(1, 1)], negative: vec![] };
        assert!(many.into_sketch(config()).is_none());
        let far = Bins { zero: 0, positive: vec![(i32::MAX, 1), (i32::MIN, 1)], negative: vec![] };
        assert!(
            far.into_sketch(config()).is_some(),
            "values beyond the range are at its end, without a panic"
        );
    }

    proptest! {
        #[test]
        fn restored_bins_are_equal(
            values in prop::collection::vec((-1e9_f64..1e9, 1_u64..1 << 45), 1..300),
            small in prop::collection::vec((-1e-3_f64..1e-3, 1_u64..5), 0..20),
        ) {
            let all: Vec<_> = values.into_iter().chain(small).collect();
            round_trip(&all);
        }
    }
}
