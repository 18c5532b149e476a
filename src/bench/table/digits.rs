//! Numbers as the tables and the report print them.

/// A number with three digits, `12.3k` where it is long; `-` for what is no number.
pub fn digits(number: f64) -> String {
    let size = number.abs();
    match size {
        _ if !number.is_finite() => "-".to_owned(),
        _ if 0.0 < size && size < 0.0995 => format!("{number:.3}"),
        _ if size < 9.995 => format!("{number:.2}"),
        _ if size < 99.95 => format!("{number:.1}"),
        _ if size < 9_999.5 => format!("{number:.0}"),
        _ if size < 99_950.0 => format!("{:.1}k", number / 1e3),
        _ if size < 999_500.0 => format!("{:.0}k", number / 1e3),
        _ if size < 99.95e6 => format!("{:.1}M", number / 1e6),
        _ if size < 1e10 => format!("{:.0}M", number / 1e6),
        _ => format!("{number:.0e}"),
    }
}
