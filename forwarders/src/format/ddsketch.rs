//! The binary form of a timer that Datadog's DDSketch libraries read, such as
//! `DDSketchWithExactSummaryStatistics.decode` of sketches-java.
//!
//! The form is a sequence of blocks, each after a byte that identifies it. Counts are floating-point
//! numbers there, so a bucket's count of 1/1024 samples is written without an error.

use crate::spool::leb128;
use model::{Buckets, TimerValue, UNITS_PER_SAMPLE};

/// Identifies a block: its type in the lower two bits, its content in the others.
const fn flag(block: u8, content: u8) -> u8 {
    content << 2 | block
}

/// Types of blocks.
const FEATURE: u8 = 0;
const POSITIVE: u8 = 1;
const MAPPING: u8 = 2;
const NEGATIVE: u8 = 3;

// Features. Count, sum, minimum and maximum are those of the samples, not of the buckets.
const ZERO_COUNT: u8 = flag(FEATURE, 0x01);
const COUNT: u8 = flag(FEATURE, 0x28);
const SUM: u8 = flag(FEATURE, 0x21);
const MIN: u8 = flag(FEATURE, 0x22);
const MAX: u8 = flag(FEATURE, 0x23);

/// A mapping with a logarithm, whose base and offset follow.
const LOGARITHMIC: u8 = flag(MAPPING, 0);
/// 2^(1/64), which every daemon must write with the same bits: sketches merge only if it is equal.
const BASE: f64 = 1.010_889_286_051_700_5;
const OFFSET: f64 = 0.0;

/// Buckets of one sign, each as the distance to the index before and a count.
const DISTANCES_AND_COUNTS: u8 = 1;

/// Appends a timer.
pub fn write_timer(out: &mut Vec<u8>, value: &TimerValue) {
    let summary = &value.summary;
    out.push(COUNT);
    write_count(out, summary.count);
    for (flag, number) in [
        (MIN, summary.min),
        (MAX, summary.max),
        (SUM, summary.sum),
        // The mapping is a flag and two numbers.
        (LOGARITHMIC, BASE),
    ] {
        out.push(flag);
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&OFFSET.to_le_bytes());
    write_buckets(out, &value.timer.buckets());
}

fn write_buckets(out: &mut Vec<u8>, buckets: &Buckets) {
    if buckets.zero > 0 {
        out.push(ZERO_COUNT);
        write_count(out, samples(buckets.zero));
    }
    for (sign, listed) in [(POSITIVE, &buckets.positive), (NEGATIVE, &buckets.negative)] {
        if listed.is_empty() {
            continue;
        }
        out.push(flag(sign, DISTANCES_AND_COUNTS));
        leb128::write(out, listed.len() as u64);
        let mut before = 0;
        for (index, count) in listed {
            // Bucket 0 begins at 1 there, and ends at 1 here.
            let index = index - 1;
            leb128::write(out, zigzag(index - before));
            write_count(out, samples(*count));
            before = index;
        }
    }
}

fn samples(units: u64) -> f64 {
    units as f64 / UNITS_PER_SAMPLE as f64
}

/// Maps numbers of small magnitude to small numbers: 0, -1, 1, -2 to 0, 1, 2, 3.
fn zigzag(number: i32) -> u64 {
    u64::from((number << 1 ^ number >> 31) as u32)
}

/// Appends a count that is not negative, in up to 9 bytes; small whole numbers take one or two.
///
/// The bits of a double begin with the exponent, which the distance to the bits of 1 makes small. Rotated
/// left by six, the highest bits that differ come first, and the zeros at the end are not written.
fn write_count(out: &mut Vec<u8>, count: f64) {
    let mut bits = (count + 1.0).to_bits().wrapping_sub(1_f64.to_bits()).rotate_left(6);
    for _ in 0..8 {
        let first = (bits >> 57) as u8;
        bits <<= 7;
        if bits == 0 {
            return out.push(first);
        }
        out.push(first | 0x80);
    }
    out.push((bits >> 56) as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::Value;
    use model::testing::timer;

    fn written(samples: &[(f64, f64)]) -> Vec<u8> {
        let Value::Timer(value) = timer("x", &[], samples).value else { panic!("a timer") };
        let mut out = Vec::new();
        write_timer(&mut out, &value);
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_those_that_sketches_java_writes() {
        // DDSketchWithExactSummaryStatistics.encode of sketches-java 0.8.3, with
        // LogarithmicMapping(Math.pow(2, 1 / 64.0), 0) and UnboundedSizeDenseStore.
        let mapping = "026180773e9a2cf03f0000000000000000";
        for (samples, head, buckets) in [
            (
                &[(3.0, 1.0)][..],
                "a0028800000000000008408c0000000000000840840000000000000840",
                "0501ca0102",
            ),
            (
                &[(3.0, 1.0), (3.0, 1.0), (5.0, 1.0)],
                "a0048800000000000008408c0000000000001440840000000000002640",
                "0502ca01035e02",
            ),
            (
                &[(-3.0, 1.0), (0.0, 2.0), (3.5, 3.25)],
                "a085508800000000000008c08c0000000000000c40840000000000c02040",
                "04030501e60184100701ca0102",
            ),
            (
                &[(-0.001, 10.0), (1e9, 1.0), (1e-9, 1.000_976_562_5)],
                "a087a00488fca9f1d24d6250bf8c0000000065cdcd418452b8feff64cdcd41",
                "0502f31d828010e63b020701fb098660",
            ),
        ] {
            let shown = hex(&written(samples));
            assert_eq!(shown, format!("{head}{mapping}{buckets}"));
        }
    }

    /// A reader that knows only the blocks that are written.
    struct Reader<'a>(&'a [u8]);

    impl Reader<'_> {
        fn byte(&mut self) -> u8 {
            let (first, rest) = self.0.split_first().unwrap();
            self.0 = rest;
            *first
        }

        fn double(&mut self) -> f64 {
            f64::from_le_bytes(std::array::from_fn(|_| self.byte()))
        }

        fn whole(&mut self) -> u64 {
            let (mut number, mut shift) = (0, 0);
            loop {
                let byte = self.byte();
                number |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return number;
                }
            }
        }

        fn count(&mut self) -> f64 {
            let (mut bits, mut free) = (0, 64);
            loop {
                let byte = self.byte();
                if free == 8 {
                    bits |= u64::from(byte);
                    break;
                }
                free -= 7;
                bits |= u64::from(byte & 0x7f) << free;
                if byte < 0x80 {
                    break;
                }
            }
            f64::from_bits(bits.rotate_right(6) + 1_f64.to_bits()) - 1.0
        }

        fn buckets(&mut self) -> Vec<(i32, u64)> {
            let (length, mut index) = (self.whole(), 0);
            let bucket = |_| {
                let distance = self.whole();
                index += (distance >> 1) as i32 ^ -((distance & 1) as i32);
                (index + 1, (self.count() * UNITS_PER_SAMPLE as f64) as u64)
            };
            (0..length).map(bucket).collect()
        }
    }

    proptest! {
        #[test]
        fn every_timer_is_read_back(
            values in prop::collection::vec(
                prop_oneof![-1e3_f64..1e3, prop::num::f64::NORMAL, Just(0.0)], 1..50,
            ),
            weight in prop::sample::select(vec![1.0, 10.0, 1.0 / 0.3, 1e9]),
        ) {
            let samples: Vec<_> = values.iter().map(|value| (*value, weight)).collect();
            let Value::Timer(value) = timer("x", &[], &samples).value else { panic!("a timer") };
            let mut out = Vec::new();
            write_timer(&mut out, &value);
            let mut reader = Reader(&out);
            let mut read = Buckets::default();
            while !reader.0.is_empty() {
                match reader.byte() {
                    0xa0 => {
                        let count = reader.count();
                        prop_assert!((count / value.summary.count - 1.0).abs() < 1e-15);
                    }
                    0x84 => prop_assert_eq!(reader.double(), value.summary.sum),
                    0x88 => prop_assert_eq!(reader.double(), value.summary.min),
                    0x8c => prop_assert_eq!(reader.double(), value.summary.max),
                    0x02 => prop_assert_eq!((reader.double(), reader.double()), (BASE, 0.0)),
                    0x04 => read.zero = (reader.count() * UNITS_PER_SAMPLE as f64) as u64,
                    0x05 => read.positive = reader.buckets(),
                    0x07 => read.negative = reader.buckets(),
                    flag => prop_assert!(false, "{flag:#x}"),
                }
            }
            prop_assert_eq!(read, value.timer.buckets());
        }
    }
}
