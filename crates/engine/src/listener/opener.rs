//! Finds the messages in a datagram.

use crate::protocol::Rejection;
use crate::sys::Datagram;

/// Finds the messages in each datagram of a socket.
pub(super) trait Opener {
    /// The messages of a datagram, or why it is refused.
    fn open<'b>(&mut self, datagram: &Datagram<'b>) -> Result<&'b [u8], RefusedDatagram<'b>>;
}

/// A datagram that is not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedDatagram<'b> {
    /// Why.
    pub(super) rejection: Rejection,
    /// The part that is shown to the operator, in which the rejection has its offset.
    pub(super) shown: &'b [u8],
}

/// All bytes of a datagram are messages.
pub(super) struct Unsigned;

impl Opener for Unsigned {
    #[inline(always)]
    fn open<'b>(&mut self, datagram: &Datagram<'b>) -> Result<&'b [u8], RefusedDatagram<'b>> {
        Ok(datagram.bytes)
    }
}
