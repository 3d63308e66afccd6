//! Tests of deliveries to servers that are functions, without sockets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::delivery::payload::Settled;

const LIMITS: RequestLimits =
    RequestLimits { units: 1_000, bytes: 1 << 20, bisections: 7, search_after: 8 };

/// A batch of payloads of these sizes, with one point each.
fn batch(sizes: &[usize]) -> Batch {
    let mut batch = Batch::default();
    for size in sizes {
        batch.push(1, |_| (), |out| out.resize(out.len() + size, b'x'));
    }
    batch
}

/// The course of one attempt to deliver a batch.
struct Attempt {
    requests: usize,
    /// The ids of each request that the server answered with [`RequestOutcome::Delivered`].
    delivered: Vec<usize>,
    stopped: Option<StatusClass>,
}

/// Delivers a batch to a server, which is called with the ids and bytes of each request.
fn deliver(
    batch: &mut Batch,
    sizes: &[usize],
    limits: RequestLimits,
    size: &mut RequestSize,
    mut server: impl FnMut(&[usize], usize) -> RequestOutcome,
) -> Attempt {
    let mut plan = DeliveryPlan::new(limits, *size);
    let mut attempt = Attempt { requests: 0, delivered: Vec::new(), stopped: None };
    loop {
        let ids = plan.next(batch, |_| 1);
        if ids.is_empty() {
            return attempt;
        }
        let pending: Vec<usize> = batch.pending().map(|payload| payload.id).collect();
        assert!(ids.iter().all(|id| pending.contains(id)), "a settled payload is sent again");
        let bytes = ids.iter().map(|id| sizes[*id]).sum();
        assert!(ids.len() == 1 || (ids.len() <= limits.units && bytes <= limits.bytes));
        attempt.requests += 1;
        let outcome = server(&ids, bytes);
        if outcome == RequestOutcome::Delivered {
            attempt.delivered.extend(&ids);
        }
        let sent = AnsweredRequest { ids: &ids, bytes, outcome, words: "no", is_busy: false };
        let step = plan.settle(batch, sent);
        *size = plan.size();
        if let NextStep::Stop(class) = step {
            attempt.stopped = Some(class);
            return attempt;
        }
    }
}

/// Delivers `count` payloads of 100 bytes in one attempt. Returns the attempt and the ledger.
fn settle(
    count: usize,
    server: impl FnMut(&[usize], usize) -> RequestOutcome,
) -> (Attempt, Settled) {
    let sizes = vec![100; count];
    let mut batch = batch(&sizes);
    let mut size = RequestSize::new(LIMITS.bytes);
    let attempt = deliver(&mut batch, &sizes, LIMITS, &mut size, server);
    (attempt, batch.take_settled())
}

fn refused(count: u64) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([(reason::REFUSED, count)])
}

#[test]
fn outcomes_settle_the_payloads_that_they_are_about() {
    let partial =
        |refused, named: &[usize]| RequestOutcome::Partial { refused, named: named.into() };
    for (first, requests, delivered, lost) in [
        (RequestOutcome::Delivered, 1, 10, 0),
        (partial(3, &[]), 1, 7, 3),
        (partial(1, &[2, 4]), 1, 8, 2),
        (partial(4, &[2]), 1, 6, 4),
        (partial(99, &[0]), 1, 0, 10),
        (partial(1, &[77]), 1, 9, 1),
        (RequestOutcome::Named(vec![0, 9]), 2, 8, 2),
        (RequestOutcome::Named(vec![9, 77, 9]), 2, 9, 1),
    ] {
        let mut answers = vec![RequestOutcome::Delivered, first.clone()];
        let (attempt, settled) = settle(10, |_, _| answers.pop().unwrap());
        assert_eq!(attempt.requests, requests, "{first:?}");
        assert_eq!(settled.delivered, delivered, "{first:?}");
        assert_eq!(settled.refused.values().sum::<u64>(), lost, "{first:?}");
    }
}

#[test]
fn a_server_that_is_not_available_keeps_the_pending_payloads() {
    for (outcome, class) in [
        (RequestOutcome::Transient, StatusClass::Transient),
        (RequestOutcome::Operator, StatusClass::Operator),
    ] {
        // The server fails at the second of three requests, or during a search.
        for answers in [[RequestOutcome::Delivered], [RequestOutcome::Unnamed]] {
            let mut answers = answers.into_iter();
            let delivered =
                if answers.as_slice() == [RequestOutcome::Delivered] { 1_000 } else { 0 };
            let (attempt, settled) =
                settle(3_000, |_, _| answers.next().unwrap_or_else(|| outcome.clone()));
            assert_eq!((attempt.requests, attempt.stopped), (2, Some(class)));
            assert_eq!((settled.delivered, settled.refused), (delivered, BTreeMap::new()));
        }
    }
}

#[test]
fn refused_payloads_that_are_not_named_are_first_those_without_points() {
    let mut batch = Batch::default();
    for points in [1, 1, 0, 0, 1] {
        batch.push(points, |_| (), |out| out.push(b'x'));
    }
    let sizes = [1; 5];
    let mut size = RequestSize::new(LIMITS.bytes);
    let partial = |refused| RequestOutcome::Partial { refused, named: Vec::new() };
    deliver(&mut batch, &sizes, LIMITS, &mut size, |_, _| partial(3));
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused), (2, refused(1)));
}

#[test]
fn places_that_a_request_does_not_have_start_a_search() {
    let (attempt, settled) = settle(4, |ids, _| match ids.contains(&2) {
        true => RequestOutcome::Named(vec![1_000]),
        false => RequestOutcome::Delivered,
    });
    assert_eq!((settled.delivered, settled.refused), (3, refused(1)));
    assert_eq!((attempt.requests, attempt.delivered), (4, vec![0, 1, 3]));
}

#[test]
fn one_bad_payload_of_many_costs_few_requests_and_few_payloads() {
    for bad in [0, 123, 999, 1_000, 2_999] {
        let (attempt, settled) = settle(3_000, |ids, _| match ids.contains(&bad) {
            true => RequestOutcome::Unnamed,
            false => RequestOutcome::Delivered,
        });
        let lost = settled.refused[reason::REFUSED];
        assert!((1..=8).contains(&lost), "{lost}");
        assert_eq!(settled.delivered, 3_000 - lost);
        assert!(attempt.requests <= 3 + 8, "{}", attempt.requests);
    }
}

#[test]
fn a_server_that_refuses_everything_is_not_asked_about_every_payload() {
    for outcome in [RequestOutcome::Unnamed, RequestOutcome::Named(vec![0])] {
        let (attempt, settled) = settle(10_000, |_, _| outcome.clone());
        assert_eq!((settled.delivered, settled.refused), (0, refused(10_000)));
        assert!(attempt.requests <= EXTRA_REQUESTS_MAX + 10 + 8, "{}", attempt.requests);
    }
}

#[test]
fn requests_shrink_until_they_pass_and_a_payload_that_is_too_large_alone_is_dropped() {
    let mut sizes = vec![100; 200];
    sizes[50] = 6_000;
    let mut batch = batch(&sizes);
    let mut size = RequestSize::new(LIMITS.bytes);
    let too_large = |_: &[usize], bytes| match bytes > 5_000 {
        true => RequestOutcome::TooLarge,
        false => RequestOutcome::Delivered,
    };
    let attempt = deliver(&mut batch, &sizes, LIMITS, &mut size, too_large);
    let settled = batch.take_settled();
    assert_eq!((attempt.stopped, settled.delivered), (None, 199));
    assert_eq!(settled.refused, BTreeMap::from([(reason::TOO_LARGE, 1)]));
    assert!((2_500..=5_000).contains(&size.bytes_max()), "{size:?}");
}

#[test]
fn a_server_to_which_everything_is_too_large_waits_for_its_operator() {
    for count in [1, 30, 3_000] {
        let (attempt, settled) = settle(count, |_, _| RequestOutcome::TooLarge);
        assert_eq!(attempt.stopped, Some(StatusClass::Operator), "{count}");
        assert_eq!(settled, Settled::default());
        assert!(attempt.requests <= 9, "{}", attempt.requests);
    }
}

/// Generates any outcome, including ones that name places that no request has.
fn any_outcome() -> impl Strategy<Value = RequestOutcome> {
    let places = || prop::collection::vec(0_usize..40, 0..4);
    prop_oneof![
        6 => Just(RequestOutcome::Delivered),
        6 => Just(RequestOutcome::Unnamed),
        3 => Just(RequestOutcome::TooLarge),
        2 => places().prop_map(RequestOutcome::Named),
        2 => (0_usize..40, places())
            .prop_map(|(refused, named)| RequestOutcome::Partial { refused, named }),
        1 => Just(RequestOutcome::Transient),
        1 => Just(RequestOutcome::Operator),
    ]
}

/// The course of a search for a culprit.
#[derive(Debug, Default)]
struct Course {
    requests: usize,
    /// The number of requests with other data.
    compared: usize,
    stopped: bool,
}

/// Delivers a batch whose first request has stalled. `accepts` is called with the ids and bytes of
/// each request; `accepts_other` says whether the server accepts other data, by the number of the
/// question.
fn search(
    batch: &mut Batch,
    sizes: &[usize],
    size: &mut RequestSize,
    accepts: impl Fn(&[usize], usize) -> bool,
    accepts_other: impl Fn(usize) -> bool,
) -> Course {
    let mut plan = DeliveryPlan::new(LIMITS, *size);
    let mut course = Course::default();
    loop {
        let ids = plan.next(batch, |_| 1);
        if ids.is_empty() {
            plan.end_search();
            *size = plan.size();
            return course;
        }
        course.requests += 1;
        let bytes = ids.iter().map(|id| sizes[*id]).sum();
        let outcome = match accepts(&ids, bytes) {
            true => RequestOutcome::Delivered,
            false => RequestOutcome::Transient,
        };
        let sent = AnsweredRequest { ids: &ids, bytes, outcome, words: "no", is_busy: false };
        let step = match plan.settle(batch, sent) {
            NextStep::Stop(_) if !plan.is_searching() => plan.begin_search(&ids),
            step => step,
        };
        if matches!(step, NextStep::Compare | NextStep::Confirm) {
            course.compared += 1;
            course.stopped = !accepts_other(course.compared);
        }
        course.stopped |= matches!(step, NextStep::Stop(_));
        if course.stopped {
            return course;
        }
        match step {
            NextStep::Compare => plan.proven(),
            NextStep::Confirm => plan.confirmed(batch, reason::REFUSED, "no"),
            _ => {}
        }
    }
}

#[test]
fn culprits_are_found_alone_and_everything_else_is_delivered() {
    for bad in [&[0][..], &[500], &[999], &[0, 500, 999], &[3, 4, 5, 700]] {
        let sizes = vec![100; 1_000];
        let (mut batch, mut size) = (batch(&sizes), RequestSize::new(LIMITS.bytes));
        let accepts = |ids: &[usize], _| !ids.iter().any(|id| bad.contains(id));
        let course = search(&mut batch, &sizes, &mut size, accepts, |_| true);
        let settled = batch.take_settled();
        assert_eq!(settled.refused, refused(bad.len() as u64), "{bad:?}");
        assert_eq!(settled.delivered, 1_000 - bad.len() as u64);
        assert!(course.requests <= 5 + bad.len() * 25, "{bad:?} {course:?}");
        assert_eq!(size.bytes_max(), LIMITS.bytes, "the size was not at fault");
    }
}

#[test]
fn a_request_that_is_too_large_is_made_smaller_and_costs_nothing() {
    let sizes = vec![100; 5_000];
    let (mut batch, mut size) = (batch(&sizes), RequestSize::new(LIMITS.bytes));
    let course = search(&mut batch, &sizes, &mut size, |_, bytes| bytes <= 30_000, |_| true);
    assert_eq!(batch.take_settled().delivered, 5_000);
    assert!((15_000..=30_000).contains(&size.bytes_max()), "{size:?}");
    assert!(course.requests <= 40 && course.compared == 0, "{course:?}");
}

#[test]
fn a_server_that_accepts_nothing_costs_few_requests_and_no_data() {
    for count in [1, 2, 10_000] {
        let sizes = vec![100; count];
        let (mut batch, mut size) = (batch(&sizes), RequestSize::new(LIMITS.bytes));
        let course = search(&mut batch, &sizes, &mut size, |_, _| false, |_| false);
        assert!(course.stopped && course.requests <= 4 && course.compared == 1, "{course:?}");
        assert_eq!(batch.take_settled(), Settled::default());
    }
}

#[test]
fn a_server_that_fails_during_a_search_costs_no_data() {
    let sizes = vec![100; 100];
    let (mut batch, mut size) = (batch(&sizes), RequestSize::new(LIMITS.bytes));
    // It accepts the first trial and then nothing.
    let course = search(&mut batch, &sizes, &mut size, |ids, _| ids == [0], |_| false);
    assert!(course.stopped && course.compared == 1, "{course:?}");
    let settled = batch.take_settled();
    assert_eq!((settled.delivered, settled.refused), (1, BTreeMap::new()));
    assert_eq!(size.bytes_max(), LIMITS.bytes);
}

#[test]
fn a_window_of_culprits_is_refused_once_other_data_is_accepted() {
    let sizes = vec![100; 10];
    let (mut batch, mut size) = (batch(&sizes), RequestSize::new(LIMITS.bytes));
    search(&mut batch, &sizes, &mut size, |_, _| false, |_| true);
    assert_eq!(batch.take_settled().refused, refused(10));
    // So many that not each can be searched for.
    let sizes = vec![100; 5_000];
    let (mut batch, mut size) = (self::batch(&sizes), RequestSize::new(LIMITS.bytes));
    let course = search(&mut batch, &sizes, &mut size, |_, _| false, |_| true);
    assert_eq!(batch.take_settled().refused, refused(5_000));
    assert!(course.requests < 200, "{course:?}");
}

proptest! {
    #[test]
    fn every_payload_is_settled_once_by_a_bounded_number_of_requests(
        sizes in prop::collection::vec(prop_oneof![9 => 1_usize..200, 1 => 1_usize..20_000], 1..200),
        outcomes in prop::collection::vec(any_outcome(), 0..300),
        units in 1_usize..300,
        bytes in 1_000_usize..100_000,
        bisections in 0_usize..12,
    ) {
        let limits = RequestLimits { units, bytes, bisections, search_after: 8 };
        let mut batch = batch(&sizes);
        let mut size = RequestSize::new(bytes);
        let mut outcomes = outcomes.into_iter();
        let mut delivered = Vec::new();
        // After these outcomes, the server accepts everything.
        while !batch.is_settled() {
            let mut script = |_: &[usize], _| outcomes.next().unwrap_or(RequestOutcome::Delivered);
            let attempt = deliver(&mut batch, &sizes, limits, &mut size, &mut script);
            delivered.extend(attempt.delivered);
            // Each request that is not additional settles a payload or makes requests smaller.
            let most = sizes.len() + EXTRA_REQUESTS_MAX + bisections + 1 + 8;
            prop_assert!(attempt.requests <= most, "{} > {most}", attempt.requests);
        }
        let settled = batch.take_settled();
        let lost: u64 = settled.refused.values().sum();
        prop_assert_eq!(settled.delivered + lost, sizes.len() as u64);
        let count = delivered.len();
        delivered.sort_unstable();
        delivered.dedup();
        prop_assert_eq!(delivered.len(), count, "a payload was delivered twice");
        prop_assert!(settled.delivered >= count as u64);
    }
}
