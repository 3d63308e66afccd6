//! Maps the replies of methods to readings. `docs/kamailio.md` lists the metrics.

use binrpc::BinrpcValue;

use crate::reading::Readings;

pub(crate) mod codes;
pub(crate) mod dispatcher;
pub(crate) mod fields;
pub(crate) mod generic;
pub(crate) mod memory;
pub(crate) mod peers;
pub(crate) mod runinfo;
pub(crate) mod statistics;
#[cfg(test)]
mod tests;

/// Adds the readings of a reply.
pub(crate) type MapReply = fn(&MethodReply<'_>, &mut Readings);

/// The reply of a method.
pub(crate) struct MethodReply<'a> {
    /// The start of the names of its readings: `kamailio.` and the name of the method.
    pub(crate) prefix: String,
    /// The arguments of the call; empty if there are none.
    pub(crate) arguments: String,
    pub(crate) records: &'a [BinrpcValue],
}

impl MethodReply<'_> {
    /// The members of the first record, where the reply is a struct.
    pub(crate) fn members(&self) -> &[binrpc::Member] {
        self.records.first().map_or(&[], BinrpcValue::members)
    }
}
