//! Groups payloads into requests.

use crate::delivery::payload::{Batch, Payload};

/// The configured limits of a destination's requests.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Most units of a request: the sum of [`HttpProtocol::units`](super::HttpProtocol::units).
    pub units: usize,
    /// Most bytes of a request before compression. A larger payload is sent alone.
    pub bytes: usize,
    /// Most requests of one search for a payload that the server refuses without naming it. Each
    /// request halves the number of payloads that are dropped in the end.
    pub bisections: usize,
    /// The number of equal answers after which a request that the server neither accepts nor
    /// refuses is searched (`delivery.retry.search_after`).
    pub search_after: u32,
}

/// The ids of the next pending payloads from `first` on that fit into one request. At least one, or
/// none if no payload is pending.
pub(super) fn next_group(
    batch: &Batch,
    first: usize,
    limits: RequestLimits,
    units_of: impl Fn(&[u8]) -> usize,
) -> Vec<usize> {
    let (mut ids, mut units, mut bytes) = (Vec::new(), 0, 0);
    for Payload { id, bytes: payload, .. } in batch.pending_from(first) {
        units += units_of(payload);
        bytes += payload.len();
        // A first payload that exceeds a limit is sent alone: the server decides, not this limit.
        if !ids.is_empty() && (units > limits.units || bytes > limits.bytes) {
            break;
        }
        ids.push(id);
    }
    ids
}

/// The bytes of the payloads `ids`, which are pending and in order.
pub(super) fn payloads<'a>(batch: &'a Batch, ids: &[usize]) -> Vec<&'a [u8]> {
    // Settled payloads between the ids are skipped, as are pending ones that a search left out.
    let mut wanted = ids.iter().peekable();
    let pending = batch.pending_from(ids.first().copied().unwrap_or(0));
    let mut found = Vec::with_capacity(ids.len());
    for payload in pending {
        if wanted.next_if(|id| **id == payload.id).is_some() {
            found.push(payload.bytes);
        }
        if wanted.peek().is_none() {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sizes: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for size in sizes {
            batch.push(1, |_| (), |out| out.resize(out.len() + size, b'x'));
        }
        batch
    }

    /// The groups of a batch, each of which is delivered before the next one is formed.
    fn groups(sizes: &[usize], units: usize, bytes: usize) -> Vec<Vec<usize>> {
        let mut batch = batch(sizes);
        let limits = RequestLimits { units, bytes, bisections: 0, search_after: 1 };
        let mut groups = Vec::new();
        while !batch.is_settled() {
            // A payload of five bytes has two units.
            let ids = next_group(&batch, 0, limits, |bytes| if bytes.len() == 5 { 2 } else { 1 });
            ids.iter().for_each(|id| batch.delivered(*id));
            groups.push(ids);
        }
        groups
    }

    #[test]
    fn groups_keep_to_both_limits_and_hold_at_least_one_payload() {
        const MAX: usize = usize::MAX;
        for (sizes, units, bytes, expected) in [
            (&[1, 1, 1][..], MAX, MAX, &[&[0, 1, 2][..]][..]),
            (&[1, 1, 1], 2, MAX, &[&[0, 1], &[2]]),
            (&[1, 5, 1], 2, MAX, &[&[0], &[1], &[2]]),
            (&[5, 5], 1, MAX, &[&[0], &[1]]),
            (&[2, 2, 2], MAX, 4, &[&[0, 1], &[2]]),
            (&[2, 9, 2, 2], MAX, 4, &[&[0], &[1], &[2, 3]]),
            (&[9], MAX, 4, &[&[0]]),
            (&[], 1, 1, &[]),
        ] {
            assert_eq!(groups(sizes, units, bytes), expected, "{sizes:?} {units} {bytes}");
        }
    }

    #[test]
    fn payloads_are_found_among_settled_and_unselected_ones() {
        let mut batch = batch(&[1, 2, 3, 4, 5]);
        batch.delivered(2);
        let sizes: Vec<usize> = payloads(&batch, &[1, 4]).iter().map(|bytes| bytes.len()).collect();
        assert_eq!(sizes, [2, 5]);
        assert!(payloads(&batch, &[]).is_empty());
    }
}
