//! Sizes of the older schema: `memory = "2G"`, in mebibytes since.

use super::toml_text;

/// Reads `2G`, `512m` or `64K`; whole mebibytes, rounded towards zero.
///
/// # Errors
/// Says what is expected.
pub fn mebibytes(text: &str) -> Result<i64, String> {
    let expected = || "a size must be like `2G`, `512M` or `64K`".to_owned();
    let text = text.trim();
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'g' | 'G')) => (&text[..at], 1024.0),
        Some((at, 'm' | 'M')) => (&text[..at], 1.0),
        Some((at, 'k' | 'K')) => (&text[..at], 1.0 / 1024.0),
        _ => return Err(expected()),
    };
    let size = toml_text::float(number.trim()).ok_or_else(expected)? * factor;
    toml_text::exact(size.trunc()).ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_mebibytes() {
        let cases = [
            ("2G", 2048),
            ("512m", 512),
            ("1.5G", 1536),
            (" 1_0 M ", 10),
            ("1023K", 0),
            ("1025k", 1),
            ("-1G", -1024),
            ("1e1M", 10),
        ];
        for (text, expected) in cases {
            assert_eq!(mebibytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_size_without_unit_or_number_is_refused() {
        for text in ["", "2GB", "2048", "G", "twoG", "infG", "nanM", "1__0M", "_1M", "1e300G"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_whole_size_is_read_in_both_units(gibibytes in 0..1_000_000_i64) {
            proptest::prop_assert_eq!(mebibytes(&format!("{gibibytes}G")), Ok(gibibytes * 1024));
            proptest::prop_assert_eq!(mebibytes(&format!("{}m", gibibytes * 1024)), Ok(gibibytes * 1024));
        }

        #[test]
        fn no_text_makes_it_fail(text in "\\PC{0,8}[gGmMkK]?") {
            drop(mebibytes(&text));
        }
    }
}
