//! Files in which a text cannot be found, because they are compressed, or would be broken by taking it out.

use camino::Utf8Path;

/// How their names end.
const ENDINGS: &[&str] = &[
    "7z", "br", "bz2", "gz", "jar", "lz", "lz4", "lzma", "rar", "tar", "tbz", "tbz2", "tgz", "txz", "tzst",
    "whl", "xz", "z", "zip", "zst",
];

/// How they begin: gzip, Zstandard, xz, bzip2, zip (also without a file), 7-Zip, LZ4, RAR, compress.
const BEGINNINGS: &[&[u8]] = &[
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"BZh",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"7z\xbc\xaf\x27\x1c",
    b"\x04\x22\x4d\x18",
    b"Rar!\x1a\x07",
    b"\x1f\x9d",
];

/// Where a tar file says that it is one.
const TAR_AT: usize = 257;

/// Says whether a file is one of these, by its name or by what is in it.
pub fn is_packed(name: &Utf8Path, bytes: &[u8]) -> bool {
    let ending = name.extension().unwrap_or_default();
    // Of `log.tar.1`, as what turns logs over names them, the last but one.
    let before = name.file_stem().and_then(|stem| Utf8Path::new(stem).extension()).unwrap_or_default();
    let is_number = !ending.is_empty() && ending.bytes().all(|byte| byte.is_ascii_digit());
    let ending = if is_number { before } else { ending };
    ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
        // `BZh` may begin a text.
        || BEGINNINGS.iter().any(|known| bytes.starts_with(known) && std::str::from_utf8(bytes).is_err())
        || bytes.get(TAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_files_are_known_by_name_and_by_content() {
        let mut tar = vec![0; 512];
        tar[TAR_AT..TAR_AT + 5].copy_from_slice(b"ustar");
        for (name, bytes) in [
            ("a.gz", &b""[..]),
            ("agent/logs.TAR.GZ", b""),
            ("a.tar.1", b""),
            ("a.tgz", b""),
            ("a.zst", b""),
            ("a.xz", b""),
            ("a.bz2", b""),
            ("a.zip", b""),
            ("trace", b"\x1f\x8b\x08\0\xff"),
            ("trace", b"PK\x03\x04\xff"),
            ("trace.log", &tar),
        ] {
            assert!(is_packed(Utf8Path::new(name), bytes), "{name}");
        }
        for (name, bytes) in
            [("a.txt", &b"BZh is a text"[..]), ("gz", b"text"), ("a.gz.txt", b"text"), ("a.1", b"")]
        {
            assert!(!is_packed(Utf8Path::new(name), bytes), "{name}");
        }
    }
}
