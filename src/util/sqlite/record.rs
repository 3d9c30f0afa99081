//! Records: a row's values, one after the other, behind a header that says their types.

use super::Value;

/// The most columns that a table can have.
const MOST_COLUMNS: usize = 32_767;

/// Reads a number of one to nine bytes; returns how many they are as well.
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + 1));
        }
    }
    None
}

/// Reads the values of a record, and says whether a text had to be repaired.
pub fn values(record: &[u8]) -> Result<(Vec<Value>, bool), &'static str> {
    const SHORT: &str = "a record ends before its header does";
    let (length, mut at) = varint(record).ok_or(SHORT)?;
    let length = usize::try_from(length).map_err(|_| SHORT)?;
    let header = record.get(..length).ok_or(SHORT)?;
    let mut body = &record[length..];
    let (mut values, mut is_repaired) = (Vec::new(), false);
    while at < header.len() {
        let (kind, bytes) = varint(&header[at..]).ok_or(SHORT)?;
        at += bytes;
        if values.len() == MOST_COLUMNS {
            return Err("a record has more values than a table can have columns");
        }
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err("a value is of a type that SQLite keeps to itself"),
            _ => (kind - 12) / 2,
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= body.len());
        let (own, rest) = body.split_at(size.ok_or("a record ends before its values do")?);
        body = rest;
        values.push(match kind {
            0 => Value::Null,
            1..=6 => Value::Integer(integer(own)),
            7 => Value::Real(f64::from_bits(integer(own).cast_unsigned())),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            _ if kind % 2 == 0 => Value::Blob(own.to_vec()),
            _ => {
                let text = String::from_utf8_lossy(own);
                is_repaired |= matches!(text, std::borrow::Cow::Owned(_));
                Value::Text(text.into_owned())
            }
        });
    }
    Ok((values, is_repaired))
}

/// Reads a number of one to eight bytes, of which the first has the sign.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    bytes.iter().fold(if negative { -1 } else { 0 }, |number, byte| number << 8 | i64::from(*byte))
}
