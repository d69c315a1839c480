//! Messages of a PostgreSQL client: of one that is found good `pgwire` reads every byte, and writes the same again.

use bytes::{BufMut as _, BytesMut};
use pgwire::error::PgWireError;
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};

use crate::memory::within;
use crate::server::postgres::message::{check, check_first};

/// Runs the target on one input: the type of a message, 0 for the first one of a client, and its body.
pub fn run(data: &[u8]) {
    let [kind, body @ ..] = data else { return };
    let is_first = *kind == 0;
    let found = within(0, || if is_first { check_first(body) } else { check(*kind, body) });
    if let Err(problem) = found {
        return assert!(!problem.to_string().is_empty());
    }
    let mut message = BytesMut::from(if is_first { &[][..] } else { &data[..1] });
    message.put_u32(u32::try_from(body.len() + 4).expect("inputs are short"));
    message.put_slice(body);
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_2);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = is_first;
    let mut left = message.clone();
    // A value of no byte takes four and is a slice, a parameter of the start is two texts in a tree.
    let read = within(4096 + 32 * message.len(), || PgWireFrontendMessage::decode(&mut left, &context));
    if is_first {
        return assert!(!matches!(read, Ok(None)), "more is waited for");
    }
    let read = match read {
        Ok(read) => read.expect("the message is whole"),
        Err(PgWireError::MessageTooLarge(..)) => return,
        Err(error) => panic!("{error}"),
    };
    assert!(left.is_empty(), "{left:?} is left of {read:?}");
    let mut again = BytesMut::new();
    // What is no UTF-8 comes out otherwise, and may be too long for it then.
    if std::str::from_utf8(body).is_ok() {
        read.encode(&mut again).expect("what was read is written");
        assert_eq!(again, message, "{read:?}");
    }
}
