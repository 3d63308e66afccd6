use proptest::prelude::*;

use super::*;

#[test]
fn only_simple_numbers_are_accepted() {
    for odd in
        ["01", "1e3", "1.", ".5", "", "-", "+1", "1.2.3", "1234567890123456", "0.1234567890123456"]
    {
        assert!(Split::at_number(odd.as_bytes(), 0, true).is_none(), "{odd}");
    }
    assert!(Split::at_number(b"-1", 0, false).is_none());
}

#[test]
fn numbers_of_as_many_digits_as_are_exact_are_accepted() {
    for text in ["123456789012345", "0.12345678901234", "1234567890.12345", "999999999999999"] {
        let split = Split::at_number(text.as_bytes(), 0, false).unwrap();
        assert_eq!(split.number, text.parse::<f64>().unwrap());
        assert_eq!(split.number_end, text.len());
    }
}

#[test]
fn the_rest_of_a_line_is_around_its_numbers() {
    let split = Split::at_number(b"ab:12:3|c", 3, false).unwrap();
    assert_eq!(split.pieces().shown(), "ab:…:3|c");
    assert!(!split.is_packed());
    let mut packed = split;
    packed.leave_out_numbers_until(7);
    assert_eq!(packed.pieces().shown(), "ab:…|c");
    assert!(packed.is_packed());
    assert_eq!(Split::without_number(b"ab").pieces().shown(), "ab");
    assert_eq!(Split::without_number(b"ab").number, 1.0);
}

#[test]
fn a_line_with_no_other_number_has_two_pieces() {
    let line = b"m:12|c|@0.5|T345";
    let split = Split::at_number(line, 2, false).unwrap();
    assert_eq!(split.pieces_around_number(), Some([&b"m:"[..], b"|c|@0.5|T345"]));
    let (mut with_rate, mut with_time) = (split, split);
    assert!(with_rate.leave_out_rate(8, 11));
    assert_eq!(with_rate.pieces_around_number(), None);
    with_time.leave_out_time(13, 16);
    assert_eq!(with_time.pieces_around_number(), None);
    let whole = Split::without_number(line);
    assert_eq!(whole.pieces_around_number(), Some([&line[..], b""]));
}

#[test]
fn pieces_are_in_the_order_of_the_line() {
    let line = b"0.5 12 345";
    for (number, rate, time) in [(4, 0, 7), (7, 0, 4)] {
        let end = |start| line.len().min(start + 2);
        let mut split = Split::at_number(line, number, false).unwrap();
        assert!(split.leave_out_rate(rate, 3));
        split.leave_out_time(time, end(time));
        assert_eq!(split.pieces().gaps, 3);
        assert_eq!(split.weight, 2.0);
    }
    let mut split = Split::at_number(line, 4, false).unwrap();
    split.leave_out_time(7, 10);
    assert_eq!(split.pieces().shown(), "0.5 … …");
    assert!(split.leave_out_rate(0, 3));
    assert_eq!(split.pieces().shown(), "… … …");
    let mut split = Split::without_number(line);
    split.leave_out_time(4, 6);
    assert_eq!(split.pieces().shown(), "0.5 … 345");
}

/// The number at the start of a text and its length, if it is short.
fn short_number(text: &str) -> Option<(f64, usize)> {
    let short = ShortNumber::of(word_at(text.as_bytes(), 0).unwrap());
    short.map(|short| (short.number, short.length))
}

#[test]
fn a_short_number_ends_before_a_byte_that_is_no_digit() {
    for (text, expected) in [
        ("0|c", Some((0.0, 1))),
        ("7", Some((7.0, 1))),
        ("12:3|c", Some((12.0, 2))),
        ("90/", Some((90.0, 2))),
        ("1234567|", Some((1_234_567.0, 7))),
        ("9876543", Some((9_876_543.0, 7))),
        ("0.5|g", Some((0.5, 3))),
        ("12.25", Some((12.25, 5))),
        ("1.00000", Some((1.0, 7))),
        ("12345.6|", Some((12_345.6, 7))),
        ("0.00001|", Some((0.00001, 7))),
        // Digits after its end do not count.
        ("1|234567", Some((1.0, 1))),
        ("10 99999", Some((10.0, 2))),
        ("1.5 9999", Some((1.5, 3))),
        // Not ASCII: the highest bit must not make a digit of them.
        ("1é", Some((1.0, 1))),
        ("1\u{2030}5", Some((1.0, 1))),
        // Too long, negative, with a leading zero, or no simple number.
        ("12345678", None),
        ("123456.7", None),
        ("1.234567", None),
        ("", None),
        ("-1", None),
        ("|1", None),
        ("é", None),
        ("00", None),
        ("01", None),
        ("00.5", None),
        (".5", None),
        ("1.", None),
        ("1.|c", None),
        ("1..5", None),
        ("1.5.2", None),
        ("1.5e3", None),
        ("1e3", None),
        ("1E3", None),
    ] {
        assert_eq!(short_number(text), expected, "{text}");
    }
}

#[test]
fn every_byte_but_a_digit_ends_a_short_number() {
    let of = |bytes: [u8; 8]| {
        let short = ShortNumber::of(u64::from_le_bytes(bytes));
        short.map(|short| (short.number, short.length))
    };
    for byte in 0..=u8::MAX {
        let digit = byte.is_ascii_digit().then(|| f64::from(byte - b'0'));
        let integer = match (digit, byte) {
            (Some(digit), _) => Some((4_207.0 + 10.0 * digit, 4)),
            // A fraction of 7.
            (None, b'.') => Some((42.7, 4)),
            (None, b'e' | b'E') => None,
            (None, _) => Some((42.0, 2)),
        };
        assert_eq!(of([b'4', b'2', byte, b'7', 0, 0, 0, 0]), integer, "{byte}");
        let fraction = match (digit, byte) {
            (Some(digit), _) => Some(((4_207.0 + 10.0 * digit) / 1_000.0, 5)),
            (None, b'.' | b'e' | b'E') => None,
            (None, _) => Some((4.2, 3)),
        };
        assert_eq!(of([b'4', b'.', b'2', byte, b'7', 0, 0, 0]), fraction, "{byte}");
    }
}

#[test]
fn a_word_has_zeros_after_the_end_of_the_line() {
    for (line, at, expected) in [
        ("abcdefghij", 0, Some("abcdefgh")),
        ("abcdefghij", 2, Some("cdefghij")),
        ("abcdefghij", 3, Some("defghij\0")),
        ("abcdefghij", 9, Some("j\0\0\0\0\0\0\0")),
        ("abcdefghij", 10, Some("\0\0\0\0\0\0\0\0")),
        ("abcdefghij", 11, None),
        ("abc", 0, Some("abc\0\0\0\0\0")),
        ("abc", 2, Some("c\0\0\0\0\0\0\0")),
        ("abc", 3, Some("\0\0\0\0\0\0\0\0")),
        ("abc", 4, None),
    ] {
        let word = word_at(line.as_bytes(), at).map(u64::to_le_bytes);
        assert_eq!(
            word.as_ref().map(<[u8; 8]>::as_slice),
            expected.map(str::as_bytes),
            "{line} {at}"
        );
    }
}

#[test]
fn a_number_is_read_from_any_place_of_a_line() {
    let line = b"a:1:-2.5:300000000:0.1|c";
    for (start, expected) in [
        (2, Some((1.0, 3))),
        (4, Some((-2.5, 8))),
        (5, Some((2.5, 8))),
        (9, Some((300_000_000.0, 18))),
        (19, Some((0.1, 22))),
        (0, None),
        (1, None),
        (24, None),
        (30, None),
    ] {
        let split = Split::at_number(line, start, true);
        assert_eq!(split.map(|split| (split.number, split.number_end)), expected, "{start}");
    }
}

#[test]
fn a_split_is_at_the_places_at_which_decoding_found_the_numbers() {
    let line = b"1 0.5 77";
    let place = |value, rate, time| NumberPlaces { value, rate, time };
    let mut all = Split::at_number(line, 0, false).unwrap();
    assert!(all.leave_out_rate(2, 5));
    all.leave_out_time(6, 8);
    for (places, is_at) in [
        (place(Some(0), Some(2), Some(6)), true),
        (place(Some(1), Some(2), Some(6)), false),
        (place(Some(0), Some(3), Some(6)), false),
        (place(Some(0), Some(2), Some(7)), false),
        (place(None, Some(2), Some(6)), false),
        (place(Some(0), None, Some(6)), false),
        (place(Some(0), Some(2), None), false),
    ] {
        assert_eq!(all.is_at(&places), is_at, "{places:?}");
    }
    // A rate or a timestamp that remains in the shape may be anywhere.
    let without_rate = Split::at_number(line, 0, false).unwrap();
    assert!(without_rate.is_at(&place(Some(0), Some(2), Some(6))));
    assert!(!without_rate.is_at(&place(Some(2), None, None)));
    assert!(Split::without_number(line).is_at(&place(None, Some(2), None)));
    assert!(!Split::without_number(line).is_at(&place(Some(0), None, None)));
}

proptest! {
    #[test]
    fn a_number_equals_that_of_the_standard_library(text in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,5})?") {
        let split = Split::at_number(text.as_bytes(), 0, true).unwrap();
        prop_assert_eq!(split.number_end, text.len());
        prop_assert_eq!(split.number.to_bits(), text.parse::<f64>().unwrap().to_bits());
    }

    #[test]
    fn any_bytes_are_split_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), start in 0_usize..70) {
        let _ = Split::at_number(&bytes, start, true);
    }
}
