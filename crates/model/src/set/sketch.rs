//! Estimates the number of distinct members of a large set with a HyperLogLog sketch of Apache
//! DataSketches.
//!
//! The DataSketches libraries for Java, C++ and Python, and so Druid and Pinot, read and merge the
//! bytes of a sketch. The bytes depend on the members alone: neither the order of the members nor the
//! order in which parts were merged changes one.

use datasketches::hll::{HllSketch, HllType, HllUnion};

use crate::heap::allocation;

/// 2^16 registers, a byte each: a standard error of 0.41 %.
const LG_REGISTERS: u8 = 16;
const REGISTERS: usize = 1 << LG_REGISTERS;

// The layout of the bytes. Up to 6,144 members are stored as coupons, 32 bits of each hash, whose
// number is within 0.03 % of the count; more members are stored as registers.

/// Of a sketch with registers: words before these, version, family, size.
const PREAMBLE: [u8; 4] = [10, 1, 7, LG_REGISTERS];
const FLAGS_AT: usize = 5;
/// Compact, and out of order: readers compute the estimate from the registers alone.
const COMPACT_OUT_OF_ORDER: u8 = 1 << 3 | 1 << 4;
const MODE_AT: usize = 7;
/// Type HLL_8, with coupons.
const COUPONS: u8 = 2 << 2 | 1;
/// Type HLL_8, with registers.
const FULL: u8 = 2 << 2 | 2;
const COUPONS_AT: usize = 12;
/// The estimate that depends on the order of the members.
const IN_ORDER_ESTIMATE: std::ops::Range<usize> = 8..16;
const REGISTERS_AT: usize = 40;
/// The largest value of a register: it has six bits in other types of the sketch.
const REGISTER_MAX: u8 = 63;

/// A sketch of the members' hashes.
#[derive(Clone)]
pub(super) struct SetSketch(HllUnion);

impl Default for SetSketch {
    fn default() -> Self {
        Self(HllUnion::new(LG_REGISTERS).expect("a size between 4 and 21"))
    }
}

impl SetSketch {
    /// Adds the hash of a member.
    pub(super) fn insert(&mut self, hash: u64) {
        self.0.update_value(hash);
    }

    /// Adds the members of another sketch.
    pub(super) fn merge(&mut self, other: &Self) {
        self.0.update(&other.sketch());
    }

    /// The estimated number of distinct members.
    pub(super) fn count(&self) -> f64 {
        // The library's other estimate is better by a fifth, but depends on the order of the
        // members, and is lost when sketches are merged.
        self.0.composite_estimate()
    }

    /// The sketch in the form that all DataSketches libraries read.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.sketch().serialize();
        match bytes[MODE_AT] {
            FULL => {
                bytes[FLAGS_AT] = COMPACT_OUT_OF_ORDER;
                // It depends on the order of the members, and equal sets must have equal bytes.
                bytes[IN_ORDER_ESTIMATE].fill(0);
            }
            COUPONS => bytes[COUPONS_AT..].as_chunks_mut::<4>().0.sort_unstable(),
            _ => {}
        }
        bytes
    }

    /// Reads the bytes of [`SetSketch::to_bytes`]; `None` for any others.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let sketch = Self::from_registers_or_coupons(bytes)?;
        // Bytes that would be written differently are damaged, or come from another program.
        (sketch.to_bytes() == bytes).then_some(sketch)
    }

    /// Reads the registers of tallyd 0.1.0, which have the meaning of these, but were chosen by
    /// another hash; `None` for any other bytes.
    pub(super) fn from_registers_of_0_1(registers: &[u8]) -> Option<Self> {
        if registers.len() != REGISTERS {
            return None;
        }
        let mut bytes = vec![0; REGISTERS_AT];
        bytes[..PREAMBLE.len()].copy_from_slice(&PREAMBLE);
        bytes[FLAGS_AT] = COMPACT_OUT_OF_ORDER;
        bytes[MODE_AT] = FULL;
        bytes.extend_from_slice(registers);
        Self::from_registers_or_coupons(&bytes)
    }

    /// Reads the registers or coupons. The sums that are stored with the registers are computed
    /// again: the library trusts the stored ones, and the bytes may have been changed on disk.
    fn from_registers_or_coupons(bytes: &[u8]) -> Option<Self> {
        let is_known = match *bytes.get(MODE_AT)? {
            // Larger values would overflow when the sums are computed.
            FULL => bytes.get(REGISTERS_AT..)?.iter().all(|value| *value <= REGISTER_MAX),
            mode => mode == COUPONS,
        };
        let sketch = Some(bytes).filter(|_| is_known).map(HllSketch::deserialize)?.ok()?;
        if sketch.lg_config_k() != LG_REGISTERS {
            return None;
        }
        // The first update copies the sketch, the second computes the sums.
        let mut read = Self::default();
        read.0.update(&sketch);
        read.0.update(&sketch);
        Some(read)
    }

    /// An estimate of the memory that the coupons or registers occupy.
    pub(super) fn heap_bytes(&self) -> usize {
        allocation(self.0.estimated_size())
    }

    fn sketch(&self) -> HllSketch {
        self.0.to_sketch(HllType::Hll8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64_with_seed;

    fn hash(seed: u64, member: u32) -> u64 {
        xxh3_64_with_seed(&member.to_le_bytes(), seed)
    }

    fn sketch_of(members: u32) -> SetSketch {
        let mut sketch = SetSketch::default();
        (0..members).for_each(|member| sketch.insert(hash(0, member)));
        sketch
    }

    /// The relative errors of one sketch at these sizes, which increase.
    fn errors(seed: u64, sizes: &[u32]) -> Vec<f64> {
        let mut sketch = SetSketch::default();
        let mut next = 0;
        let error = |size: &u32| {
            (next..*size).for_each(|member| sketch.insert(hash(seed, member)));
            next = *size;
            sketch.count() / f64::from(*size) - 1.0
        };
        sizes.iter().map(error).collect()
    }

    #[test]
    fn the_standard_error_is_below_half_a_percent_at_every_size() {
        let sizes =
            [1, 10, 1_000, 4_097, 6_144, 6_145, 10_000, 30_000, 42_000, 65_536, 100_000, 200_000];
        let runs: Vec<Vec<f64>> = (0..16).map(|seed| errors(seed, &sizes)).collect();
        for (place, size) in sizes.iter().enumerate() {
            let squares: f64 = runs.iter().map(|run| run[place].powi(2)).sum();
            let standard_error = (squares / runs.len() as f64).sqrt();
            assert!(standard_error < 0.005, "{size} members: {standard_error}");
            let worst = runs.iter().map(|run| run[place].abs()).fold(0.0, f64::max);
            assert!(worst < 0.02, "{size} members: {worst}");
        }
    }

    #[test]
    fn millions_of_members_are_estimated_within_two_percent() {
        for (seed, sizes) in
            [(1, [500_000, 1_000_000, 4_000_000]), (2, [400_000, 700_000, 2_000_000])]
        {
            for (error, size) in errors(seed, &sizes).into_iter().zip(sizes) {
                assert!(error.abs() < 0.02, "{size} members: {error}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_other_libraries() {
        // The C++ library, by way of Python: s = hll_sketch(16, HLL_8), updated with the integers
        // from 0 to 9,999; u = hll_union(16), updated with s twice, so that it is out of order;
        // xxh3_64 of u.get_result(HLL_8).serialize_compact().
        let mut sketch = SetSketch::default();
        (0..10_000).for_each(|hash| sketch.insert(hash));
        assert_eq!(xxh3_64_with_seed(&sketch.to_bytes(), 0), 0x18bd_a07f_680a_8f5c);
        assert_eq!(sketch.count(), 10_036.702_414_363_273);
    }

    #[test]
    fn other_bytes_are_no_sketch() {
        let (coupons, full) = (sketch_of(5_000).to_bytes(), sketch_of(10_000).to_bytes());
        for good in [&coupons, &full] {
            assert!(SetSketch::from_bytes(good).is_some());
            assert!(SetSketch::from_bytes(&good[..good.len() - 1]).is_none());
            assert!(SetSketch::from_bytes(&[good, &b"x"[..]].concat()).is_none());
            for at in 0..REGISTERS_AT {
                let mut bad = good.clone();
                bad[at] ^= 1;
                // A coupon may be another one.
                assert!(SetSketch::from_bytes(&bad).is_none() || bad[MODE_AT] == COUPONS, "{at}");
            }
        }
        let mut large = full;
        large[REGISTERS_AT] = REGISTER_MAX + 1;
        assert!(SetSketch::from_bytes(&large).is_none());
        assert!(SetSketch::from_bytes(&[]).is_none());
    }

    #[test]
    fn sketches_of_another_size_or_type_are_refused() {
        for (size, of_type) in [(12, HllType::Hll8), (16, HllType::Hll4), (16, HllType::Hll6)] {
            let mut sketch = HllSketch::new(size, of_type).unwrap();
            (0..20_000_u64).for_each(|hash| sketch.update(hash));
            assert!(SetSketch::from_bytes(&sketch.serialize()).is_none(), "{size} {of_type:?}");
        }
    }

    #[test]
    fn registers_of_version_0_1_are_read() {
        assert_eq!(SetSketch::from_registers_of_0_1(&[0; REGISTERS]).unwrap().count(), 0.0);
        let highest = SetSketch::from_registers_of_0_1(&[49; REGISTERS]).unwrap();
        assert!(highest.count().is_finite());
        assert!(SetSketch::from_bytes(&highest.to_bytes()).is_some());
        for wrong in [&[0; REGISTERS - 1][..], &[0; REGISTERS + 1], &[64; REGISTERS], &[]] {
            assert!(SetSketch::from_registers_of_0_1(wrong).is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn changed_bytes_are_refused_or_harmless(
            members in prop_oneof![Just(20_u32), Just(5_000), Just(7_000)],
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
            in_preamble in any::<bool>(),
        ) {
            let mut bytes = sketch_of(members).to_bytes();
            let end = if in_preamble { REGISTERS_AT } else { bytes.len() };
            for (at, byte) in changes {
                bytes[at.index(end)] = byte;
            }
            if let Some(mut sketch) = SetSketch::from_bytes(&bytes) {
                (0..3_000).for_each(|member| sketch.insert(hash(1, member)));
                sketch.merge(&sketch_of(7_000));
                prop_assert!(sketch.count().is_finite());
                prop_assert!(SetSketch::from_bytes(&sketch.to_bytes()).is_some());
            }
        }
    }
}
