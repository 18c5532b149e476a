//! What can be wrong with a request. A client that is refused is told in one line why, with the
//! status that the standard gives to that mistake, so the faults are data and never just numbers.

use thiserror::Error;

use super::chunks::ChunkFault;
use super::{Allow, AnswerExtent};
use crate::limits::{
    HTTP_BLANK_LINES_MAX, HTTP_BODY_MAX, HTTP_BYTES_MAX, HTTP_FIELDS_MAX, HTTP_HEAD_MAX,
    HTTP_METHOD_MAX, HTTP_MS_MAX, HTTP_TRAILER_MAX,
};

/// A request that is refused: answer with its status, then close. Where the next request would
/// begin is not known any more, or not worth finding out. What is sound and only asks for nothing
/// that there is, is [`super::BuiltinRoute::Unserved`] instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestRefusal {
    /// What is wrong; its text is the body of the answer.
    pub fault: Fault,
    /// Whether the answer may have a body: not when a HEAD request is refused. None where the
    /// method is not known, and may be HEAD: then the answer is one that is right for all.
    pub answer: Option<AnswerExtent>,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Fault {
    /// The first line is not a request line.
    #[error("the request line is not METHOD TARGET HTTP/1.1")]
    RequestLine,
    /// A line of the head ends without CR.
    #[error("a line of the head ends in a bare LF; lines end in CRLF")]
    BareLf,
    /// Empty lines where a request should begin.
    #[error("more than {HTTP_BLANK_LINES_MAX} empty lines before the request")]
    BlankLines,
    /// A field's name is not a token that a colon follows at once.
    #[error("a field's name is malformed, folded, or has a space before its colon")]
    FieldName,
    /// A field's value holds a control character, a bare CR or NUL.
    #[error("a field's value holds a control character")]
    FieldValue,
    /// The target is in none of the accepted forms.
    #[error("the request target is neither /path nor http://host/path")]
    Target,
    /// HTTP/1.1 without `Host`.
    #[error("the Host field is missing; HTTP/1.1 needs one")]
    HostMissing,
    /// More than one `Host`.
    #[error("the Host field is repeated")]
    HostRepeated,
    /// `Host` is no name or address with an optional port.
    #[error("the Host field is not HOST or HOST:PORT")]
    HostInvalid,
    /// `Content-Length` is no decimal number.
    #[error("the Content-Length field is not one decimal number")]
    ContentLength,
    /// More than one `Content-Length`: whoever takes the other one sees another request.
    #[error("the Content-Length field is repeated")]
    ContentLengthRepeated,
    /// Two framings at once.
    #[error("the request has both Content-Length and Transfer-Encoding; send one of them")]
    TwoFramings,
    /// `Transfer-Encoding` is malformed, or `chunked` is not last in it.
    #[error("the Transfer-Encoding field is malformed; chunked comes once, and last")]
    TransferEncoding,
    /// `Transfer-Encoding` before HTTP/1.1.
    #[error("the Transfer-Encoding field needs HTTP/1.1")]
    TransferEncodingTooOld,
    /// The body is not chunked as it should be.
    #[error(transparent)]
    Chunk(ChunkFault),
    /// `ms` is missing or out of range.
    #[error("ms: one decimal number from 0 to {HTTP_MS_MAX} is needed, as in ?ms=1.5")]
    QueryMs,
    /// `n` is missing or out of range.
    #[error("n: one whole number from 0 to {HTTP_BYTES_MAX} is needed, as in ?n=1024")]
    QueryN,
    /// No such path.
    #[error(
        "no such path; there are / /whoami /healthz /burn?ms= /sleep?ms= /wait?ms= /bytes?n= /echo"
    )]
    Path,
    /// The path does not take this method.
    #[error("this path takes {allow}")]
    Method {
        /// What it takes.
        allow: Allow,
    },
    /// No method of HTTP.
    #[error("the method is unknown; there are GET, HEAD, POST, PUT and OPTIONS")]
    MethodUnknown,
    /// No method is so long: what begins like this is another protocol.
    #[error("the method is longer than {HTTP_METHOD_MAX} bytes")]
    MethodTooLong,
    /// The request did not arrive in time. Only the server, which has a clock, finds this.
    #[error("the request did not arrive in time")]
    TimedOut,
    /// The body is, or is declared, too long.
    #[error("the body is longer than {HTTP_BODY_MAX} bytes")]
    BodyTooLong,
    /// An `Expect` that nobody here can meet.
    #[error("the Expect field asks for something else than 100-continue")]
    Expectation,
    /// The head does not end within its limit.
    #[error("the head of the request is longer than {HTTP_HEAD_MAX} bytes")]
    HeadTooLong,
    /// The head has too many fields.
    #[error("the request has more than {HTTP_FIELDS_MAX} fields")]
    FieldsTooMany,
    /// The trailer does not end within its limit.
    #[error("the trailer is longer than {HTTP_TRAILER_MAX} bytes")]
    TrailerTooLong,
    /// A transfer coding beside `chunked`.
    #[error("the request has a transfer coding other than chunked")]
    TransferCoding,
    /// Another major version of HTTP.
    #[error("only HTTP/1 is spoken here")]
    Version,
}

impl Fault {
    /// Status code and reason phrase, as they stand in the status line.
    pub const fn status(self) -> &'static str {
        match self {
            Self::RequestLine
            | Self::BareLf
            | Self::BlankLines
            | Self::FieldName
            | Self::FieldValue
            | Self::Target
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::ContentLength
            | Self::ContentLengthRepeated
            | Self::TwoFramings
            | Self::TransferEncoding
            | Self::TransferEncodingTooOld
            | Self::Chunk(_)
            | Self::QueryMs
            | Self::QueryN => "400 Bad Request",
            Self::Path => "404 Not Found",
            Self::Method { .. } => "405 Method Not Allowed",
            Self::TimedOut => "408 Request Timeout",
            Self::BodyTooLong => "413 Content Too Large",
            Self::Expectation => "417 Expectation Failed",
            Self::HeadTooLong | Self::FieldsTooMany | Self::TrailerTooLong => {
                "431 Request Header Fields Too Large"
            }
            Self::MethodUnknown | Self::MethodTooLong | Self::TransferCoding => {
                "501 Not Implemented"
            }
            Self::Version => "505 HTTP Version Not Supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_query_value_is_answered_with_its_name_and_range() {
        assert_eq!(
            Fault::QueryMs.to_string(),
            "ms: one decimal number from 0 to 60000 is needed, as in ?ms=1.5"
        );
        assert_eq!(
            Fault::QueryN.to_string(),
            "n: one whole number from 0 to 1073741824 is needed, as in ?n=1024"
        );
    }
}
