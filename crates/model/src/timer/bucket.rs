//! The bucket of a value: bucket `i` covers the magnitudes above 2^((i-1)/64), up to 2^(i/64).
//!
//! These are the buckets of an OpenTelemetry exponential histogram of scale 6 (whose indexes are one
//! lower), of a Prometheus native histogram of schema 6, and of a DDSketch with γ = 2^(1/64). So
//! sketches convert into each of them, and merge with sketches of other hosts, without an error.
//!
//! The index is computed from the bits of the double, not with a logarithm: rounding would put a
//! value next to a bound into different buckets on different machines.

/// Buckets between a power of two and the next.
pub(super) const BUCKETS_PER_OCTAVE: i32 = 64;

/// Bits of a double's fraction, those after the leading 1.
const FRACTION_BITS: u32 = 52;
const FRACTION_MASK: u64 = (1 << FRACTION_BITS) - 1;
const EXPONENT_BIAS: i32 = 1_023;

/// For each bucket of an octave, the fraction of the largest double in it. 2^(n/64) is irrational
/// for all but the last, so no double lies on the bound itself.
#[rustfmt::skip]
const LAST_FRACTIONS: [u64; BUCKETS_PER_OCTAVE as usize] = [
    0x0_2c9a_3e77_8060, 0x0_59b0_d315_8574, 0x0_8745_1875_9bc8, 0x0_b558_6cf9_890f,
    0x0_e3ec_32d3_d1a2, 0x1_1301_d012_5b50, 0x1_429a_aea9_2ddf, 0x1_72b8_3c7d_517a,
    0x1_a35b_eb6f_cb75, 0x1_d487_3168_b9aa, 0x2_063b_8862_8cd6, 0x2_387a_6e75_6238,
    0x2_6b45_65e2_7cdd, 0x2_9e9d_f51f_dee1, 0x2_d285_a6e4_030b, 0x3_06fe_0a31_b715,
    0x3_3c08_b264_16ff, 0x3_71a7_373a_a9ca, 0x3_a7db_34e5_9ff6, 0x3_dea6_4c12_3422,
    0x4_160a_21f7_2e29, 0x4_4e08_6061_892d, 0x4_86a2_b5c1_3cd0, 0x4_bfda_d536_2a27,
    0x4_f9b2_769d_2ca6, 0x5_342b_569d_4f81, 0x5_6f47_36b5_27da, 0x5_ab07_dd48_5429,
    0x5_e76f_15ad_2148, 0x6_247e_b03a_5584, 0x6_6238_8255_2224, 0x6_a09e_667f_3bcc,
    0x6_dfb2_3c65_1a2e, 0x7_1f75_e8ec_5f73, 0x7_5feb_5642_67c8, 0x7_a114_73eb_0186,
    0x7_e2f3_36cf_4e62, 0x8_2589_994c_ce12, 0x8_68d9_9b44_92ec, 0x8_ace5_422a_a0db,
    0x8_f1ae_9915_7736, 0x9_3737_b0cd_c5e4, 0x9_7d82_9fde_4e4f, 0x9_c491_82a3_f090,
    0xa_0c66_7b5d_e564, 0xa_5503_b23e_255c, 0xa_9e6b_5579_fdbf, 0xa_e89f_995a_d3ad,
    0xb_33a2_b84f_15fa, 0xb_7f76_f2fb_5e46, 0xb_cc1e_904b_c1d2, 0xc_199b_dd85_529c,
    0xc_67f1_2e57_d14b, 0xc_b720_dcef_9069, 0xd_072d_4a07_897b, 0xd_5818_dcfb_a487,
    0xd_a9e6_03db_3285, 0xd_fc97_337b_9b5e, 0xe_502e_e78b_3ff6, 0xe_a4af_a2a4_90d9,
    0xe_fa1b_ee61_5a27, 0xf_5076_5b6e_4540, 0xf_a7c1_819e_90d8, 0xf_ffff_ffff_ffff,
];

/// The leading bits of a fraction that select the first bucket to try. Steps of 1/256 are smaller
/// than every bucket, so the right bucket is that one or the next.
const PREFIX_BITS: u32 = 8;

const FIRST_TRIES: [u8; 1 << PREFIX_BITS] = {
    let mut tries = [0; 1 << PREFIX_BITS];
    let (mut prefix, mut bucket) = (0, 0);
    while prefix < tries.len() {
        while LAST_FRACTIONS[bucket] < (prefix as u64) << (FRACTION_BITS - PREFIX_BITS) {
            bucket += 1;
        }
        tries[prefix] = bucket as u8;
        prefix += 1;
    }
    tries
};

/// The index of the bucket of a positive, finite magnitude.
pub(super) fn bucket_index(magnitude: f64) -> i32 {
    let (bits, shift) = if magnitude < f64::MIN_POSITIVE {
        // The bits of a subnormal double have no leading 1. The product is exact.
        ((magnitude * power_of_two(54)).to_bits(), 54)
    } else {
        (magnitude.to_bits(), 0)
    };
    let exponent = (bits >> FRACTION_BITS) as i32 - EXPONENT_BIAS - shift;
    let fraction = bits & FRACTION_MASK;
    let first = usize::from(FIRST_TRIES[(fraction >> (FRACTION_BITS - PREFIX_BITS)) as usize]);
    let bucket = first as i32 + i32::from(fraction > LAST_FRACTIONS[first]);
    // A power of two is the bound of the octave below.
    exponent * BUCKETS_PER_OCTAVE + bucket + i32::from(fraction != 0)
}

/// The value with the smallest relative distance from all values of a bucket. The distance is at
/// most (γ-1)/(γ+1), 0.542 %.
pub(super) fn middle(index: i32) -> f64 {
    let gamma = (1.0 / f64::from(BUCKETS_PER_OCTAVE)).exp2();
    let octave = (index - 1).div_euclid(BUCKETS_PER_OCTAVE);
    let bound = f64::from(index - octave * BUCKETS_PER_OCTAVE) / f64::from(BUCKETS_PER_OCTAVE);
    let scaled = bound.exp2() * 2.0 / (1.0 + gamma);
    // In two steps: the power itself can be smaller than every double.
    let half = octave / 2;
    scaled * power_of_two(half) * power_of_two(octave - half)
}

/// 2^`exponent`, which must be the exponent of a normal double.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + EXPONENT_BIAS) as u64) << FRACTION_BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Product of two numbers of 32-bit digits, the lowest first.
    fn product(a: &[u32], b: &[u32]) -> Vec<u32> {
        let mut digits = vec![0; a.len() + b.len()];
        for (i, x) in a.iter().enumerate() {
            let mut carry = 0;
            for (j, y) in b.iter().enumerate() {
                let sum = u64::from(*x) * u64::from(*y) + u64::from(digits[i + j]) + carry;
                digits[i + j] = sum as u32;
                carry = sum >> 32;
            }
            digits[i + b.len()] = carry as u32;
        }
        digits
    }

    /// Whether (1 + fraction)^64 is at most 2^`power`, in whole numbers.
    fn is_at_most(fraction: u64, power: u32) -> bool {
        let number = fraction | 1 << FRACTION_BITS;
        let mut digits = vec![number as u32, (number >> 32) as u32];
        for _ in 0..6 {
            digits = product(&digits, &digits);
        }
        let bits = power + 64 * FRACTION_BITS;
        let top = digits.iter().rposition(|digit| *digit != 0).unwrap();
        let length = top as u32 * 32 + 32 - digits[top].leading_zeros();
        let is_power = digits[top].is_power_of_two() && digits[..top].iter().all(|d| *d == 0);
        length <= bits || (length == bits + 1 && is_power)
    }

    #[test]
    fn each_bucket_ends_at_the_last_double_below_its_bound() {
        for (bucket, last) in LAST_FRACTIONS.iter().enumerate().take(63) {
            let power = bucket as u32 + 1;
            assert!(is_at_most(*last, power) && !is_at_most(last + 1, power), "{bucket}");
        }
        assert_eq!(LAST_FRACTIONS[63], FRACTION_MASK);
    }

    #[test]
    fn a_power_of_two_is_the_last_value_of_its_bucket() {
        for exponent in -1_022..=1_023 {
            let value = power_of_two(exponent);
            assert_eq!(bucket_index(value), exponent * 64);
            assert_eq!(bucket_index(value.next_up()), exponent * 64 + 1);
            if exponent > -1_022 {
                assert_eq!(bucket_index(value.next_down()), exponent * 64);
            }
        }
    }

    #[test]
    fn the_smallest_and_the_largest_double_have_a_bucket() {
        assert_eq!(bucket_index(f64::from_bits(1)), -1_074 * 64);
        assert_eq!(bucket_index(f64::from_bits(3)), -1_073 * 64 + 38);
        assert_eq!(bucket_index(f64::MIN_POSITIVE), -1_022 * 64);
        assert_eq!(bucket_index(f64::MAX), 1_024 * 64);
        assert!(middle(1_024 * 64).is_finite());
        assert!(middle(-1_074 * 64) > 0.0);
    }

    #[test]
    fn listed_doubles_have_the_index_that_exact_arithmetic_gives_them() {
        let listed = include_str!("bucket_indexes.txt").lines().skip(1);
        let listed: Vec<_> = listed.map(|line| line.split_once(' ').unwrap()).collect();
        for (bits, index) in &listed {
            let value = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
            assert_eq!(bucket_index(value), index.parse::<i32>().unwrap(), "{value:e}");
        }
        assert!(listed.len() > 900);
    }

    #[test]
    fn client_libraries_put_a_double_into_the_same_bucket_unless_it_is_next_to_a_bound() {
        let (mut values, mut others) = (0, 0);
        for line in include_str!("bucket_indexes_of_libraries.txt").lines().skip(1) {
            let words: Vec<_> = line.split(' ').collect();
            let value = f64::from_bits(u64::from_str_radix(words[0], 16).unwrap());
            let ours = bucket_index(value);
            let [prometheus, opentelemetry] =
                [1, 2].map(|word| words[word].parse::<i32>().unwrap());
            for theirs in [prometheus, opentelemetry + 1] {
                let bound = (f64::from(ours.min(theirs)) / 64.0).exp2();
                // Their bounds and logarithms are rounded.
                let is_rounded = (ours - theirs).abs() == 1 && (value / bound - 1.0).abs() < 1e-14;
                assert!(ours == theirs || is_rounded, "{value:e}: {ours} {theirs}");
                others += i32::from(ours != theirs);
            }
            values += 1;
        }
        assert_eq!((values, others), (953, 160));
    }

    /// The index as the OpenTelemetry specification defines it, with a logarithm; plus 1, because
    /// its bucket 0 begins at 1 and ours ends there.
    fn index_by_logarithm(magnitude: f64) -> f64 {
        (magnitude.log2() * 64.0).ceil()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_bucket_of_any_double_is_that_of_the_logarithm(bits in any::<u64>()) {
            let magnitude = f64::from_bits(bits).abs();
            prop_assume!(magnitude.is_finite() && magnitude > 0.0);
            let near = magnitude.log2() * 64.0;
            // The logarithm is rounded, so it proves nothing next to a bound.
            prop_assume!((near - near.round()).abs() > 1e-9);
            prop_assert_eq!(f64::from(bucket_index(magnitude)), index_by_logarithm(magnitude));
        }

        #[test]
        fn the_middle_of_a_bucket_is_within_the_stated_error(bits in any::<u64>()) {
            let magnitude = f64::from_bits(bits).abs();
            prop_assume!(magnitude.is_normal());
            let index = bucket_index(magnitude);
            let middle = middle(index);
            prop_assert!((middle - magnitude).abs() <= 0.005_42 * magnitude, "{magnitude} {middle}");
            prop_assert_eq!(bucket_index(middle), index);
        }
    }
}
