//! Streams of guests.

use super::*;

fn entry(builder: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: Option<&str>) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    let text: &[u8] = if kind.is_file() { b"text" } else { b"" };
    header.set_size(text.len() as u64);
    // `set_path` rejects these names.
    let bytes = name.as_bytes();
    header.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    if let Some(link) = link {
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_cksum();
    builder.append(&header, text).unwrap();
}

type Row<'a> = (&'a str, EntryType, Option<&'a str>);

fn unpacked(rows: &[Row<'_>]) -> (tempfile::TempDir, io::Result<Unpacked>) {
    unpacked_up_to(u64::MAX - 1, rows)
}

fn unpacked_up_to(max: u64, rows: &[Row<'_>]) -> (tempfile::TempDir, io::Result<Unpacked>) {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, link) in rows {
        entry(&mut builder, name, *kind, *link);
    }
    let bytes = builder.into_inner().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let staging = directory.path().join("staging");
    fs::create_dir(&staging).unwrap();
    let opened = Directory::open(&staging.canonicalize().unwrap()).unwrap();
    let result = unpack(bytes.as_slice(), &opened, max, &mut |_| {});
    (directory, result)
}

const DIR: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;

#[test]
fn unpacks_directory_and_single_file() {
    let (root, result) = unpacked(&[
        ("./", DIR, None),
        ("./a/", DIR, None),
        ("./a/b", FILE, None),
    ]);
    assert_eq!(result.unwrap().files, 1);
    assert!(root.path().join("staging/item/a/b").is_file());
    let (root, result) = unpacked(&[("./name", FILE, None)]);
    assert_eq!(result.unwrap().bytes, 4);
    assert!(root.path().join("staging/item").is_file());
}

#[test]
fn rejects_names_and_links_that_escape() {
    let escapes: [&[Row<'_>]; 9] = [
        // A single link, then an entry through it.
        &[
            ("./x", EntryType::Symlink, Some("..")),
            ("./evil", FILE, None),
        ],
        &[
            ("./x", EntryType::Symlink, Some("..")),
            ("./evil/", DIR, None),
        ],
        // A directory over a link, and one through it.
        &[
            ("./", DIR, None),
            ("./x", EntryType::Symlink, Some("../..")),
            ("./x/", DIR, None),
        ],
        &[
            ("./", DIR, None),
            ("./x", EntryType::Symlink, Some("../..")),
            ("./x/evil/", DIR, None),
        ],
        &[("./", DIR, None), ("./../evil", FILE, None)],
        &[("./", DIR, None), ("/evil", FILE, None)],
        &[
            ("./", DIR, None),
            ("./out", EntryType::Symlink, Some("../..")),
            ("./out/evil", FILE, None),
        ],
        &[("../evil", FILE, None)],
        &[
            ("./", DIR, None),
            ("./evil", EntryType::Link, Some("../../../../etc/passwd")),
        ],
    ];
    for rows in escapes {
        let (root, result) = unpacked(rows);
        assert!(result.is_err(), "{rows:?}");
        let mut files = fs::read_dir(root.path()).unwrap();
        assert_eq!(files.next().unwrap().unwrap().file_name(), "staging");
        assert!(files.next().is_none(), "{rows:?}");
    }
}

#[test]
fn rewrite_prefixes_names() {
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, "./", DIR, None);
    entry(&mut builder, "./a", FILE, None);
    entry(&mut builder, "./b", FILE, None);
    let bytes = builder.into_inner().unwrap();
    let mut rewritten = Vec::new();
    let owner = Owner { uid: 5, gid: 6 };
    rewrite(
        bytes.as_slice(),
        &mut rewritten,
        owner,
        1 << 20,
        &mut |_| {},
    )
    .unwrap();
    let mut archive = Archive::new(rewritten.as_slice());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["item", "item/a", "item/b"]);
}

#[test]
fn skips_and_reports_devices() {
    let (_root, result) = unpacked(&[("./", DIR, None), ("./null", EntryType::Char, None)]);
    assert_eq!(result.unwrap().skipped, ["null"]);
}

#[test]
fn list_of_skipped_names_is_bounded() {
    let mut rows = vec![("./", DIR, None)];
    rows.extend((0..500).map(|_| ("./a\x1b[31m", EntryType::Fifo, None)));
    let (_root, result) = unpacked(&rows);
    let skipped = result.unwrap().skipped;
    assert_eq!(skipped.len(), MAX_SKIPPED + 1);
    assert_eq!(skipped[0], "a\\u{1b}[31m");
    assert_eq!(skipped.last().unwrap(), "…");
}

#[test]
fn stops_at_the_limit() {
    let rows = [("./", DIR, None), ("./a", FILE, None), ("./b", FILE, None)];
    let needed = 3 * BLOCK_BYTES + 2 * 4;
    assert!(unpacked_up_to(needed, &rows).1.is_ok());
    let (_root, result) = unpacked_up_to(needed - 1, &rows);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn hole_of_a_sparse_file_counts() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_size(0);
    header.as_mut_bytes()[..3].copy_from_slice(b"./s");
    // A terabyte without any data.
    let gnu = header.as_gnu_mut().unwrap();
    gnu.realsize.copy_from_slice(&tar_number(1 << 40));
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let staging = Directory::open(&directory.path().canonicalize().unwrap()).unwrap();
    let result = unpack(bytes.as_slice(), &staging, 1 << 20, &mut |_| {});
    assert!(result.is_err());
    let written = fs::metadata(directory.path().join(ITEM)).map_or(0, |about| about.len());
    assert!(written <= (1 << 20) + 1, "{written}");
}

/// Between envs nothing is written to the disk of this machine, but to that of the target.
#[test]
fn rewrite_stops_at_the_limit() {
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, "./", DIR, None);
    entry(&mut builder, "./a", FILE, None);
    let bytes = builder.into_inner().unwrap();
    let owner = Owner { uid: 5, gid: 6 };
    let rewritten = |max| rewrite(bytes.as_slice(), io::sink(), owner, max, &mut |_| {});
    let needed = 2 * BLOCK_BYTES + 4;
    assert!(rewritten(needed).is_ok());
    let error = rewritten(needed - 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn long_headers_are_not_read_into_memory() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let read = Cell::new(0);
    let stream = header.as_bytes().chain(io::repeat(b'a'));
    let directory = tempfile::tempdir().unwrap();
    let staging = Directory::open(&directory.path().canonicalize().unwrap()).unwrap();
    let result = unpack(stream, &staging, 1 << 50, &mut |bytes| read.set(bytes));
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(read.get() < 2 * MAX_HEADER_BYTES, "{}", read.get());
}

#[test]
fn rejects_deep_names() {
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, "./", DIR, None);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(DIR);
    header.set_size(0);
    let deep = "a/".repeat(MAX_DEPTH + 1);
    builder.append_data(&mut header, deep, io::empty()).unwrap();
    let bytes = builder.into_inner().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let staging = Directory::open(&directory.path().canonicalize().unwrap()).unwrap();
    let result = unpack(bytes.as_slice(), &staging, 1 << 20, &mut |_| {});
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

/// The base-256 form of numbers that are too large for octal digits.
fn tar_number(number: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes[0] = 0x80;
    bytes
}

#[test]
fn rejects_empty_stream() {
    let (_root, result) = unpacked(&[]);
    assert!(result.is_err());
}
