//! Files that `SQLite` itself has written, as Python has it.

use std::path::Path;
use std::process::Command;

use super::*;

/// Runs a program on a new database `x.db`, and leaves files as a killed program would.
fn files(program: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let program = format!("import sqlite3, os, sys\nc = sqlite3.connect('x.db')\n{program}\nos._exit(0)\n");
    let output = Command::new("python3").args(["-c", &program]).current_dir(&directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory
}

fn file(path: &Path) -> Box<dyn ReadAt> {
    Box::new(File::open(path).unwrap())
}

fn open(directory: &tempfile::TempDir) -> Result<Database, Error> {
    let wal = directory.path().join("x.db-wal");
    Database::open(file(&directory.path().join("x.db")), wal.exists().then(|| file(&wal)))
}

fn rows(database: &Database, table: &str) -> Vec<Row> {
    database.rows(database.table(table).unwrap()).unwrap().map(Result::unwrap).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn values_of_every_type_are_read() {
    let directory = files(
        "c.execute('create table t (id integer primary key, v, w text default 5)')\n\
         for v in [None, 0, 1, -1, 127, -128, 128, 32767, -32768, 8388607, -8388608, 2147483647, -2147483648,\n\
                   140737488355327, -140737488355328, 2**63-1, -2**63, 1.5, -0.25, '', 'a\\u00e9\\u0000b', b'', b'\\xff\\x00']:\n\
         \x20   c.execute('insert into t (v) values (?)', (v,))\n\
         c.execute(\"insert into t values (-7, cast(x'61ff62' as text), 'w')\")\n\
         c.commit()",
    );
    let database = open(&directory).unwrap();
    let table = database.table("T").unwrap();
    assert_eq!((table.columns.join(" "), table.column("V")), ("id v w".to_owned(), Some(1)));
    let rows = rows(&database, "t");
    let expected = [
        text("a\u{fffd}b"),
        Value::Null,
        Value::Integer(0),
        Value::Integer(1),
        Value::Integer(-1),
        Value::Integer(127),
        Value::Integer(-128),
        Value::Integer(128),
        Value::Integer(32_767),
        Value::Integer(-32_768),
        Value::Integer(8_388_607),
        Value::Integer(-8_388_608),
        Value::Integer(2_147_483_647),
        Value::Integer(-2_147_483_648),
        Value::Integer(140_737_488_355_327),
        Value::Integer(-140_737_488_355_328),
        Value::Integer(i64::MAX),
        Value::Integer(i64::MIN),
        Value::Real(1.5),
        Value::Real(-0.25),
        text(""),
        text("aé\0b"),
        Value::Blob(vec![]),
        Value::Blob(vec![255, 0]),
    ];
    let values: Vec<Value> = rows.iter().map(|row| row.get(1).clone()).collect();
    assert_eq!(values, expected);
    let numbers: Vec<i64> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, std::iter::once(-7).chain(1..24).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| *row.get(0) == Value::Integer(row.number)), "the key is the number");
    assert_eq!(rows.iter().filter(|row| row.is_repaired).count(), 1);
    assert_eq!(*rows[0].get(2), text("w"));
}

#[test]
fn columns_are_read_from_the_text_of_a_table() {
    let directory = files(
        "for sql in ['create table a ([one two] text, `b``c` int, \"d\"\"e\" /* f, g */ numeric(1, 2) default (1, 2) , -- h,\\n i)',\n\
         \x20           'create table b (k INTEGER, v, constraint x primary key (k))',\n\
         \x20           'create table c (k INT primary key, v)',\n\
         \x20           'create table d (v, k integer not null primary key autoincrement, check (v > 1), unique (v))',\n\
         \x20           'create table e (v, w as (v + 1), x as (v) stored, k integer primary key desc)',\n\
         \x20           'create table f (k text primary key, v) without rowid',\n\
         \x20           'create table g as select 1 as one, 2 as \"t w o\"',\n\
         \x20           'create view h as select 1']:\n\
         \x20   c.execute(sql.replace('default (1, 2)', \"default '(,'\"))\n\
         c.execute(\"insert into a values (1, 2, 3, 4)\")\n\
         c.execute(\"insert into b values (5, 6)\")\n\
         c.execute(\"insert into c values (5, 6)\")\n\
         c.execute(\"insert into d values (7, 8)\")\n\
         c.execute(\"insert into e (v, k) values (9, 10)\")\n\
         c.execute(\"alter table c add column w default 3\")\n\
         c.commit()",
    );
    let database = open(&directory).unwrap();
    let columns = |name: &str| database.table(name).unwrap().columns.clone();
    assert_eq!(columns("a"), ["one two", "b`c", "d\"e", "i"]);
    assert_eq!(columns("b"), ["k", "v"]);
    assert_eq!(columns("d"), ["v", "k"]);
    assert_eq!(columns("e"), ["v", "x", "k"]);
    assert_eq!(columns("g"), ["one", "t w o"]);
    let one = |name: &str| rows(&database, name).remove(0);
    assert_eq!(one("b").values, [Value::Integer(5), Value::Integer(6)]);
    assert_eq!((one("c").number, one("c").get(0), one("c").get(2)), (1, &Value::Integer(5), &Value::Null));
    assert_eq!((one("d").number, one("d").get(1)), (8, &Value::Integer(8)));
    assert_eq!(one("e").values, [Value::Integer(9), Value::Integer(9), Value::Integer(10)]);
    assert!(database.table("h").is_none(), "a view is no table");
    let refused = database.rows(database.table("f").unwrap()).err().unwrap();
    assert_eq!(refused.to_string(), "the table `f` is `WITHOUT ROWID`, and those are not read");
}

#[test]
fn long_rows_are_on_several_pages() {
    for size in [512, 4096, 65536] {
        let directory = files(&format!(
            "c.execute('pragma page_size = {size}')\n\
             c.execute('create table t (v)')\n\
             for n in list(range(400, 600)) + list(range(4000, 4100)) + [70000, 1000003]:\n\
             \x20   c.execute('insert into t values (?)', ('x' * n + str(n),))\n\
             c.commit()"
        ));
        let database = open(&directory).unwrap();
        let table = database.table("t").unwrap();
        let lengths = (400..600).chain(4000..4100).chain([70_000, 1_000_003]);
        let mut read = 0;
        for (row, length) in rows(&database, "t").into_iter().zip(lengths) {
            assert_eq!(*row.get(0), Value::Text("x".repeat(length) + &length.to_string()), "{size}");
            assert_eq!(database.row(table, row.place).unwrap(), row);
            read += 1;
        }
        assert_eq!(read, 302);
    }
}

#[test]
fn a_hundred_thousand_rows_are_read_in_their_order() {
    let directory = files(
        "c.execute('pragma page_size = 512')\n\
         c.execute('create table t (id integer primary key, v)')\n\
         c.executemany('insert into t values (?, ?)', ((n * 7919 % 100003, 'row %d' % n) for n in range(100000)))\n\
         c.commit()",
    );
    let database = open(&directory).unwrap();
    let (mut count, mut last) = (0, -1);
    for row in database.rows(database.table("t").unwrap()).unwrap() {
        let row = row.unwrap();
        assert!(row.number > last);
        (count, last) = (count + 1, row.number);
        let origin = row.get(1).text().unwrap().strip_prefix("row ").unwrap().parse::<i64>().unwrap();
        assert_eq!(origin * 7919 % 100_003, row.number);
    }
    assert_eq!(count, 100_000);
}

/// Rows that are in the file, that are in the log, and one that a killed program had not finished.
const LOGGED: &str = "c.execute('pragma journal_mode = wal')\n\
    c.execute('pragma wal_autocheckpoint = 0')\n\
    c.execute('create table t (v)')\n\
    c.execute('insert into t values (?)', ('a' * 9000,))\n\
    c.commit()\n\
    c.execute('pragma wal_checkpoint(truncate)')\n\
    for n in range(3):\n\
    \x20   c.execute('insert into t values (?)', (chr(98 + n) * 9000,))\n\
    \x20   c.commit()\n\
    c.execute('pragma cache_size = 2')\n\
    c.execute('update t set v = v || 1')\n\
    c.executemany('insert into t values (?)', [('z' * 9000,)] * 50)\n";

/// The first letters of the rows, and whether all are of one length.
fn letters(database: &Database) -> (String, bool) {
    let rows = rows(database, "t");
    let whole = rows.iter().all(|row| row.get(0).text().unwrap().len() == 9000);
    (rows.iter().map(|row| row.get(0).text().unwrap().chars().next().unwrap()).collect(), whole)
}

#[test]
fn the_log_counts_up_to_its_last_finished_change() {
    let directory = files(LOGGED);
    let database = open(&directory).unwrap();
    assert_eq!(letters(&database), ("abcd".to_owned(), true));
    let log = fs_err::read(directory.path().join("x.db-wal")).unwrap();
    assert!(log.len() > 200_000, "the change that was not finished is in it: {}", log.len());
    // Without the log it is as it was before.
    let file = fs_err::read(directory.path().join("x.db")).unwrap();
    let alone = Database::open(Box::new(file.clone()), None).unwrap();
    assert_eq!(letters(&alone), ("a".to_owned(), true));
    // Cut anywhere, or broken there, it counts up to the change before.
    let mut seen = std::collections::BTreeSet::new();
    for cut in (0..log.len()).step_by(997) {
        let short = Database::open(Box::new(file.clone()), Some(Box::new(log[..cut].to_vec()))).unwrap();
        let mut broken = log.clone();
        broken[cut] ^= 1;
        let broken = Database::open(Box::new(file.clone()), Some(Box::new(broken))).unwrap();
        assert_eq!(letters(&short), letters(&broken), "{cut}");
        seen.insert(letters(&short));
    }
    let expected = ["a", "ab", "abc", "abcd"].map(|letters| (letters.to_owned(), true));
    assert_eq!(seen, expected.into());
}

#[test]
fn frames_of_an_older_log_do_not_count() {
    let directory = files(
        "c.execute('pragma journal_mode = wal')\n\
         c.execute('create table t (v)')\n\
         c.executemany('insert into t values (?)', [('a' * 9000,)] * 9)\n\
         c.commit()\n\
         c.execute('pragma wal_checkpoint(restart)')\n\
         c.execute(\"update t set v = replace(v, 'a', 'b') where rowid = 1\")\n\
         c.commit()",
    );
    assert_eq!(letters(&open(&directory).unwrap()), ("baaaaaaaa".to_owned(), true));
}

#[test]
fn a_log_that_is_written_anew_while_it_is_read_is_no_other_page() {
    let directory = files(LOGGED);
    let database = open(&directory).unwrap();
    let log = directory.path().join("x.db-wal");
    let mut bytes = fs_err::read(&log).unwrap();
    // Another log has other salts in each of its frames.
    for frame in bytes[32..].chunks_mut(24 + 4096) {
        frame[8] ^= 1;
    }
    fs_err::write(&log, bytes).unwrap();
    let read: Vec<_> = database.rows(database.table("t").unwrap()).unwrap().collect();
    let [Err(error)] = &read[..] else { panic!("{read:?}") };
    assert!(error.to_string().ends_with("the write-ahead log has changed while it was read"), "{error}");
}

#[test]
fn a_table_that_is_in_the_log_alone_is_found() {
    let directory =
        files("c.execute('pragma journal_mode = wal')\nc.execute('create table t (v)')\nc.commit()");
    let database = open(&directory).unwrap();
    assert_eq!(database.table("t").unwrap().columns, ["v"]);
    assert!(rows(&database, "t").is_empty());
}

#[test]
fn what_is_no_database_is_refused_by_name() {
    let said = |bytes: Vec<u8>| Database::open(Box::new(bytes), None).err().unwrap().to_string();
    assert_eq!(
        said(Vec::new()),
        "it is no SQLite 3 database that can be read: it ends before its header does"
    );
    assert_eq!(
        said(vec![b'x'; 4096]),
        "it is no SQLite 3 database that can be read: it does not begin as one"
    );
    let directory = files("c.execute('pragma encoding = \"UTF-16le\"')\nc.execute('create table t (v)')");
    let error = open(&directory).err().unwrap().to_string();
    assert_eq!(error, "its texts are in UTF-16, little endian, and only those in UTF-8 are read");
    let mut file = fs_err::read(directory.path().join("x.db")).unwrap();
    file[16] = 3;
    assert_eq!(
        said(file.clone()),
        "it is no SQLite 3 database that can be read: its pages are of no possible size"
    );
    file[16] = 16;
    assert_eq!(said(file[..4000].to_vec()), "page 1 is damaged: there is none of this number");
}

#[test]
fn a_damaged_page_costs_its_own_rows() {
    let directory = files(
        "c.execute('create table t (v)')\n\
         c.executemany('insert into t values (?)', (('%04d' % n + 'x' * 500,) for n in range(700)))\n\
         c.commit()",
    );
    let file = fs_err::read(directory.path().join("x.db")).unwrap();
    let count = |file: Vec<u8>| {
        let database = Database::open(Box::new(file), None).unwrap();
        let rows = database.rows(database.table("t").unwrap()).unwrap();
        let (good, bad): (Vec<_>, Vec<_>) = rows.partition(Result::is_ok);
        (good.len(), bad.into_iter().map(|error| error.unwrap_err().to_string()).collect::<Vec<_>>())
    };
    assert_eq!(count(file.clone()), (700, vec![]));
    let mut zeros = file.clone();
    zeros[4096 * 9..4096 * 10].fill(0);
    let (good, bad) = count(zeros);
    assert_eq!((good, bad), (693, vec!["page 10 is damaged: it is none of a tree".to_owned()]));
    // A page that leads to another of the same tree.
    let root = file.chunks(4096).position(|page| page[0] == 5).unwrap();
    let mut circle = file.clone();
    let last = root * 4096 + 8;
    let root = u32::try_from(root).unwrap() + 1;
    circle[last..last + 4].copy_from_slice(&root.to_be_bytes());
    let (good, bad) = count(circle);
    assert!((690..700).contains(&good), "{good}");
    assert_eq!(bad, [format!("page {root} is damaged: two places lead to it")]);
    // A file that ends too early.
    let (good, bad) = count(file[..4096 * 50].to_vec());
    assert!(good > 300 && bad.len() > 40, "{good} {bad:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, ..Default::default() })]

    #[test]
    fn changed_files_are_read_to_their_end(
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0_u8..), 1..40),
    ) {
        let mut bytes = changeable().to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        fuzz::sqlite(&bytes);
    }
}

/// A small database with a tree, long rows and a log.
fn changeable() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = files(
            "c.execute('pragma page_size = 512')\n\
             c.execute('pragma journal_mode = wal')\n\
             c.execute('pragma wal_autocheckpoint = 0')\n\
             c.execute('create table t (id integer primary key, v, w)')\n\
             c.executemany('insert into t (v, w) values (?, ?)', ((n, 'x' * (n * 9)) for n in range(99)))\n\
             c.commit()\n\
             c.execute('pragma wal_checkpoint(truncate)')\n\
             c.execute('delete from t where id % 3 = 0')\n\
             c.commit()",
        );
        let mut bytes = fs_err::read(directory.path().join("x.db")).unwrap();
        bytes.extend_from_slice(fuzz::WAL);
        bytes.extend(fs_err::read(directory.path().join("x.db-wal")).unwrap());
        bytes
    })
}
