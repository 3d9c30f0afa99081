//! What this reader promises: of whatever bytes, it does not panic, it ends, and it reads no more than is there.

use super::{Database, ReadAt, Value};

/// Where an input has this, a write-ahead log follows.
pub const WAL: &[u8] = b"\n%% wal\n";

/// Reads all that an input has, and each row once more.
///
/// # Panics
/// Where a promise is broken.
pub fn sqlite(bytes: &[u8]) {
    let cut = bytes.windows(WAL.len()).position(|window| window == WAL);
    let (file, wal) = cut.map_or((bytes, None), |cut| (&bytes[..cut], Some(&bytes[cut + WAL.len()..])));
    let wal = wal.map(|wal| Box::new(wal.to_vec()) as Box<dyn ReadAt>);
    let Ok(database) = Database::open(Box::new(file.to_vec()), wal) else { return };
    for table in database.tables() {
        let Ok(rows) = database.rows(table) else { continue };
        let (mut answers, mut size) = (0, 0);
        for row in rows {
            answers += 1;
            assert!(answers <= bytes.len(), "a row, or what is wrong, is at least one byte");
            let Ok(row) = row else { continue };
            size += row.values.iter().map(length).sum::<usize>();
            // What is no text becomes a sign of three bytes.
            assert!(size <= bytes.len() * 3, "no more is read than is there");
            let again = database.row(table, row.place).ok();
            // A number that is none equals nothing.
            assert_eq!(
                format!("{:?}", Some(row)),
                format!("{again:?}"),
                "a row is where the scan has found it"
            );
        }
    }
}

fn length(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
    }
}
