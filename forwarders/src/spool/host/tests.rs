use super::*;

#[test]
fn random_units_are_spread_from_0_to_1() {
    let mut units = [(); 1_000].map(|()| Host::Real.random_unit());
    units.sort_unstable_by(f64::total_cmp);
    let (least, middle, most) = (units[0], units[500], units[999]);
    assert!((0.0..0.1).contains(&least) && (0.9..=1.0).contains(&most), "{least} to {most}");
    assert!((0.3..0.7).contains(&middle), "{middle}");
}
