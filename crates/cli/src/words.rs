//! Human-readable sizes and times.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Formats bytes in binary units with at most three digits.
pub(crate) fn size(bytes: u64) -> String {
    // Only three digits are shown.
    #[allow(clippy::cast_precision_loss)]
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if number < 10.0 => format!("{number:.1} {}", UNITS[unit]),
        _ => format!("{number:.0} {}", UNITS[unit]),
    }
}

/// Formats a time in the local time zone.
pub(crate) fn local_time(at: Timestamp) -> String {
    let local = at.to_zoned_datetime(TimeZone::system());
    local.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_at_most_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (340 << 20, "340 MiB"),
            (4 << 40, "4.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
