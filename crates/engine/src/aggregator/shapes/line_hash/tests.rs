use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn pieces<'a>(parts: &[&'a [u8]]) -> LinePieces<'a> {
    let mut pieces = [&[][..]; PIECES];
    pieces[..parts.len()].copy_from_slice(parts);
    LinePieces { pieces, gaps: parts.len() as u32 - 1 }
}

fn hash(hasher: &mut LineHasher, parts: &[&[u8]]) -> LineHash {
    hasher.make_fit(parts.iter().map(|part| part.len()).sum());
    hasher.hash(&pieces(parts)).unwrap()
}

#[test]
fn a_line_that_is_longer_than_the_key_has_no_hash() {
    let mut hasher = LineHasher::new();
    let line = [b'x'; 1_000];
    assert_eq!(hasher.hash(&pieces(&[&line])), None);
    hasher.make_fit(1_000);
    let known = hasher.hash(&pieces(&[&line])).unwrap();
    hasher.make_fit(LINE_BYTES_MAX);
    assert_eq!(hasher.hash(&pieces(&[&line])), Some(known), "the longer key begins the same");
    let longest = [b'x'; LINE_BYTES_MAX];
    let [a, b, c, d] = [&longest[..1], &longest[..1], &longest[..1], &longest[3..]];
    assert!(hasher.hash(&pieces(&[a, b, c, d])).is_some());
}

#[test]
fn borders_between_pieces_belong_to_the_line() {
    let mut hasher = LineHasher::new();
    let lines: [&[&[u8]]; 9] = [
        &[b"ab"],
        &[b"ab", b""],
        &[b"", b"ab"],
        &[b"a", b"b"],
        &[b"a", b"b", b""],
        &[b"ab", b"", b""],
        &[b"ab", b"", b"", b""],
        &[b"ab\0"],
        &[b""],
    ];
    let hashes: HashSet<_> = lines.map(|line| hash(&mut hasher, line).first).into();
    assert_eq!(hashes.len(), lines.len());
}

/// All ways to cut a line of `length` zeros into this many pieces.
fn cuts(length: usize, pieces: usize) -> Vec<Vec<usize>> {
    if pieces == 1 {
        return vec![vec![length]];
    }
    let with_first = |first: usize| {
        cuts(length - first, pieces - 1).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    (0..=length).flat_map(with_first).collect()
}

#[test]
fn lines_that_differ_only_in_their_borders_have_different_hashes() {
    let mut hasher = LineHasher::new();
    // A word of a step stays 0 however many of these it has.
    let zeros = [0; 20];
    let mut lines = 0;
    let mut hashes = HashSet::new();
    for (length, pieces) in
        (0..=zeros.len()).flat_map(|length| (1..=PIECES).map(move |n| (length, n)))
    {
        for cut in cuts(length, pieces) {
            let parts: Vec<_> = cut.iter().map(|length| &zeros[..*length]).collect();
            assert!(hashes.insert(hash(&mut hasher, &parts).first), "{cut:?}");
            lines += 1;
        }
    }
    assert_eq!(lines, 12_649);
}

#[test]
fn each_byte_of_each_piece_changes_the_hash() {
    let mut hasher = LineHasher::new();
    let lengths = [0, 1, 3, 4, 7, 8, 9, 16, 17, 33];
    for (pieces, length) in (1..=PIECES).flat_map(|pieces| lengths.map(|length| (pieces, length))) {
        let mut bytes = vec![b'x'; pieces * length];
        let mut hash_of = |bytes: &[u8]| {
            let parts: Vec<_> = (0..pieces).map(|n| &bytes[n * length..][..length]).collect();
            hash(&mut hasher, &parts).first
        };
        let mut hashes = HashSet::from([hash_of(&bytes)]);
        for place in 0..bytes.len() {
            bytes[place] = b'y';
            assert!(hashes.insert(hash_of(&bytes)), "{pieces} pieces of {length}: {place}");
            bytes[place] = b'x';
        }
    }
}

#[test]
fn a_key_fits_a_line_whose_pieces_all_have_an_incomplete_step() {
    // One step more than the key's next multiple.
    let piece = [b'x'; 15 * STEP + 1];
    assert!(hash_in_new(&[&piece[..]; 4]).is_some());
    assert!(hash_in_new(&[b""]).is_some());
}

/// The hash of a line after the key was made to fit that line only.
fn hash_in_new(parts: &[&[u8]]) -> Option<LineHash> {
    let mut hasher = LineHasher::new();
    hasher.make_fit(parts.iter().map(|part| part.len()).sum());
    hasher.hash(&pieces(parts))
}

type PartOfHash = fn(&LineHash) -> u64;

#[test]
fn all_bits_of_a_hash_are_used_except_for_the_reserved_ones() {
    // A new key for each: with one key, lines of a few bytes may leave a bit as it is.
    let hashes: Vec<_> = (0..200_u32).filter_map(|n| hash_in_new(&[&n.to_le_bytes()])).collect();
    let parts: [(PartOfHash, u64, u64); 2] = [
        (|hash| hash.first, 0, u64::MAX),
        (|hash| hash.second.get().into(), 1, u64::from(u32::MAX >> 1)),
    ];
    for (part, always_set, ever_set) in parts {
        assert_eq!(hashes.iter().map(part).reduce(|all, hash| all & hash), Some(always_set));
        assert_eq!(hashes.iter().map(part).reduce(|all, hash| all | hash), Some(ever_set));
    }
}

#[test]
fn the_reduction_depends_on_all_bits_of_a_sum_and_on_all_of_its_key() {
    let LineHasher { reduction, .. } = LineHasher::new();
    for key in reduction {
        let reduced: HashSet<_> = (0..128).map(|bit| key.reduce(1 << bit)).collect();
        assert!(reduced.len() > 120, "{}", reduced.len());
        for part in [key.x, key.y, key.c] {
            assert!((part as u64).count_ones() > 0 && (part >> 64) > 0, "{part:x}");
        }
    }
}

#[test]
fn a_line_with_at_most_one_gap_has_the_hash_of_its_two_pieces() {
    let mut hasher = LineHasher::new();
    for second in [&b""[..], b"|c", b"|c|#key:value"] {
        let known = hash(&mut hasher, &[b"name:", second]);
        assert_eq!(hasher.hash_two(b"name:", second, true), Some(known));
    }
    let known = hash(&mut hasher, &[b"name"]);
    assert_eq!(hasher.hash_two(b"name", b"", false), Some(known));
}

#[test]
fn a_short_line_has_the_hash_of_its_two_pieces() {
    let line: Vec<u8> = (b'!'..).take(70).collect();
    let mut hasher = LineHasher::new();
    assert_eq!(hasher.hash_short(b"name:", b"|c"), None);
    for (first, second) in (0..=60).flat_map(|first| (0..=10).map(move |second| (first, second))) {
        let (first, second) = (&line[..first], &line[60..60 + second]);
        let known = hash(&mut hasher, &[first, second]);
        assert_eq!(hasher.hash_short(first, second), Some(known), "{first:?} {second:?}");
    }
}

#[test]
fn two_keys_give_different_hashes() {
    let [one, other] = [(); 2].map(|()| hash(&mut LineHasher::new(), &[b"a"]));
    assert_ne!(one, other);
}

#[test]
fn each_byte_changes_both_parts_of_the_hash() {
    let mut hasher = LineHasher::new();
    for length in 1..70 {
        let mut line = vec![b'x'; length];
        let (mut firsts, mut seconds) = (HashSet::new(), HashSet::new());
        for place in 0..length {
            line[place] = b'y';
            let LineHash { first, second } = hash(&mut hasher, &[&line]);
            line[place] = b'x';
            firsts.insert(first);
            seconds.insert(second);
        }
        assert_eq!((firsts.len(), seconds.len()), (length, length));
    }
}

proptest! {
    #[test]
    fn equal_lines_have_equal_hashes_and_others_do_not(
        one in prop::collection::vec("[ab]{0,40}", 1..5),
        other in prop::collection::vec("[ab]{0,40}", 1..5),
    ) {
        let mut hasher = LineHasher::new();
        let mut hash = |line: &[String]| {
            let line: Vec<&[u8]> = line.iter().map(String::as_bytes).collect();
            hash(&mut hasher, &line)
        };
        prop_assert_eq!(hash(&one), hash(&one.clone()));
        prop_assert_eq!(hash(&one) == hash(&other), one == other);
    }
}
