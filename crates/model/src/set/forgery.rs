//! An attack on sets: a sender who knows the seed sends members that are not counted.

use std::collections::HashMap;

use super::{DistinctSet, SetSeed};

/// Members of an honest sender. With fewer, the sketch has longer hashes instead of registers.
const HONEST: u32 = 7_000;
/// Members of the attacker.
const HIDDEN: usize = 2_000;
/// Registers of the sketch.
const REGISTERS: u32 = 1 << 16;

fn honest() -> impl Iterator<Item = String> {
    (0..HONEST).map(|number| format!("user-{number}"))
}

/// The register of a member, and the value that it gives to it, as anyone can compute who knows the
/// seed: a sketch of one member contains a number of both.
fn register(member: &str, seed: &SetSeed) -> (u32, u32) {
    let mut set = DistinctSet::default();
    set.insert(member.as_bytes(), seed);
    let bytes = set.to_datasketches();
    let coupon = u32::from_le_bytes(*bytes.last_chunk().unwrap());
    ((coupon & ((1 << 26) - 1)) % REGISTERS, coupon >> 26)
}

/// Members that change no register once the honest members are in the sketch.
fn hidden(seed: &SetSeed) -> Vec<String> {
    let mut registers: HashMap<u32, u32> = HashMap::new();
    for member in honest() {
        let (index, value) = register(&member, seed);
        let known = registers.entry(index).or_default();
        *known = value.max(*known);
    }
    let candidates = (0_u32..).map(|number| format!("forged-{number}"));
    let is_hidden = |member: &String| {
        let (index, value) = register(member, seed);
        registers.get(&index).is_some_and(|known| value <= *known)
    };
    candidates.filter(is_hidden).take(HIDDEN).collect()
}

fn count(members: impl Iterator<Item = String>, seed: &SetSeed) -> f64 {
    let mut set = DistinctSet::default();
    members.for_each(|member| set.insert(member.as_bytes(), seed));
    set.count()
}

#[test]
fn a_sender_who_knows_the_seed_can_hide_members_and_no_other_can() {
    let known = SetSeed::from_text("a seed that was published");
    let forged = hidden(&known);
    let all = || honest().chain(forged.clone());
    assert_eq!(count(all(), &known), count(honest(), &known), "the attack works");
    for seed in [SetSeed::random(), SetSeed::from_text("a seed that is secret")] {
        let error = count(all(), &seed) / f64::from(HONEST + HIDDEN as u32) - 1.0;
        assert!(error.abs() < 0.03, "off by {error}");
    }
}
