//! What a flag's value is before its own parser reads it.

use clap::builder::{OsStringValueParser, TypedValueParser};

/// Text whatever its bytes: what is not UTF-8 reaches the parsers with marks in it, which none of
/// them takes, and is refused with the flag's name; clap's own refusal names neither.
pub(super) fn text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|given| given.to_string_lossy().into_owned())
}
