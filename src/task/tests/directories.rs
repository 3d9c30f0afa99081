//! Directories: links, what an environment is made of, and the digests.

use std::os::unix::fs::symlink;

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};

use super::super::directory::digest::{Error, all_files, checksum, content};
use super::super::directory::{Directory, Verification};
use super::super::listing::{Astray, Listing};
use super::super::{FILE, Os, Task};
use super::{task, tree};
use crate::util::fs::hex;

const FILES: [(&str, &str); 4] = [
    (FILE, ""),
    ("instruction.md", "do it\n"),
    ("environment/Dockerfile", "FROM scratch\n"),
    ("tests/test.sh", "#!/bin/bash\n"),
];

fn messages(root: &Utf8Path, task: &Task) -> Vec<String> {
    let listing = Listing::read(root).unwrap();
    let problems = Directory::new(&listing).check(task, Verification::Enabled);
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    let (_place, root) = tree(&[("task.toml", "")]);
    let expected = [
        "`environment/` is missing",
        "`instruction.md` is missing",
        "`tests/test.sh` is missing: the verifier runs on linux",
    ];
    assert_eq!(messages(&root, &Task::default()), expected);
    let steps =
        task("[environment]\ndocker_image = \"x\"\n[[steps]]\nname = \"a\"\n[[steps]]\nname = \"b\"\n");
    fs_err::create_dir_all(root.join("steps/b")).unwrap();
    let expected = [
        "`steps/a/` is missing",
        "`steps/b/instruction.md` is missing",
        "`steps/b/tests/test.sh` or `tests/test.sh` is missing: the verifier runs on linux",
    ];
    assert_eq!(messages(&root, &steps), expected);
}

#[test]
fn what_a_directory_lacks_is_a_problem_of_files() {
    let (_place, root) = tree(&[("task.toml", "")]);
    let listing = Listing::read(&root).unwrap();
    let problems = Directory::new(&listing).check(&Task::default(), Verification::Enabled);
    assert!(
        !problems.is_empty() && problems.iter().all(|problem| problem.code == "task::file"),
        "{problems:?}"
    );
}

#[test]
fn without_verification_no_script_is_needed() {
    let (_place, root) = tree(&FILES[..3]);
    let listing = Listing::read(&root).unwrap();
    let directory = Directory::new(&listing);
    assert_eq!(directory.check(&Task::default(), Verification::Disabled), []);
    assert_eq!(directory.check(&Task::default(), Verification::Enabled).len(), 1);
}

#[test]
fn links_stay_in_the_task() {
    let cases = [
        ("../instruction.md", None),
        ("../tests", Some("`tests/link` leads to a directory that it is in")),
        ("../../task/instruction.md", None),
        ("../../elsewhere", Some("`tests/link` leads out of the task")),
        ("/etc/passwd", Some("`tests/link` leads out of the task")),
        ("link", Some("`tests/link` is a link that leads to itself")),
        ("nowhere", None),
    ];
    for (target, expected) in cases {
        let (_place, root) = tree(&FILES);
        symlink(target, root.join("tests/link")).unwrap();
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(messages(&root, &Task::default()), expected, "{target}");
        // What is left out may lead anywhere.
        crate::util::fs::write_atomic(&root.join("tests/.harborignore"), b"link\n", 0o644).unwrap();
        assert_eq!(messages(&root, &Task::default()), [""; 0], "{target}");
    }
}

#[test]
fn what_is_left_out_is_named_from_the_directory_of_the_file() {
    let files = [
        ("tests/.harborignore", "/one\n*.log\n"),
        ("tests/sub/.harborignore", "/two\n!keep.log\n"),
        ("environment/.harborignore", "*\n"),
    ];
    let (_place, root) = tree(&files);
    let listing = Listing::read(&root).unwrap();
    let directory = Directory::new(&listing);
    let cases = [
        ("tests/one", true),
        ("tests/sub/one", false),
        ("tests/two", false),
        ("tests/sub/two", true),
        ("tests/sub/x.log", true),
        ("tests/sub/keep.log", false),
        ("tests/keep.log", true),
        ("tests/one/below", true),
        ("environment/x", false),
        ("environment/.harborignore", true),
    ];
    for (path, expected) in cases {
        assert_eq!(directory.is_excluded(path.into()), Ok(expected), "{path}");
    }
}

#[test]
fn directories_that_link_to_each_other_end() {
    let (_place, root) = tree(&FILES);
    for index in 0..12 {
        let directory = root.join(format!("tests/{index}"));
        fs_err::create_dir(&directory).unwrap();
        symlink(format!("../{}", index + 1), directory.join("one")).unwrap();
        symlink(format!("../{}", index + 1), directory.join("two")).unwrap();
    }
    let messages = messages(&root, &Task::default());
    assert!(messages[0].ends_with("has too many links to directories"), "{messages:?}");
}

#[test]
fn a_path_is_followed_to_where_it_leads() {
    let (_place, root) = tree(&FILES);
    symlink(root.join("tests"), root.join("absolute")).unwrap();
    symlink("absolute/../tests/test.sh", root.join("twice")).unwrap();
    // What is beside the task may be a link, so nobody knows what is above it.
    symlink(format!("/elsewhere/..{root}/tests"), root.join("around")).unwrap();
    let listing = Listing::read(&root).unwrap();
    assert_eq!(listing.real("twice".into()).as_deref(), Ok(Utf8Path::new("tests/test.sh")));
    assert_eq!(listing.real("absolute/none".into()).as_deref(), Ok(Utf8Path::new("tests/none")));
    assert_eq!(listing.real("absolute/../../..".into()), Err(Astray::Outside));
    assert_eq!(listing.real("around".into()), Err(Astray::Outside));
    assert!(listing.is_file("twice".into()) && listing.is_directory("absolute".into()));
    assert_eq!(listing.read_text("twice".into()).unwrap(), "#!/bin/bash\n");
}

#[test]
fn an_environment_is_an_image_or_what_makes_one() {
    let (_place, root) = tree(&[("environment/docker-compose.yml", "")]);
    let listing = Listing::read(&root).unwrap();
    let directory = Directory::new(&listing);
    assert!(directory.definition(&Task::default()).is_err(), "`.yml` is not the name");
    let with_image = task("[environment]\ndocker_image = \"x\"\n");
    assert_eq!(directory.definition(&with_image).unwrap().image.as_deref(), Some("x"));
    let (_place, root) = tree(&FILES);
    let listing = Listing::read(&root).unwrap();
    let definition = Directory::new(&listing).definition(&Task::default()).unwrap();
    assert!(definition.dockerfile && !definition.compose);
}

#[test]
fn a_separate_verifier_has_the_nearest_image() {
    let files = [FILES.as_slice(), &[("steps/b/tests/Dockerfile", "")]].concat();
    let (_place, root) = tree(&files);
    let listing = Listing::read(&root).unwrap();
    let directory = Directory::new(&listing);
    let text = "[environment]\ndocker_image = \"agent\"\nos = \"windows\"\n[verifier.environment]\ndocker_image = \"own\"\n\
                [[steps]]\nname = \"a\"\n[[steps]]\nname = \"b\"\n[[steps]]\nname = \"c\"\n\
                [steps.verifier.environment]\ndocker_image = \"step\"\n";
    let task_with_image = task(text);
    let found = |step: usize| {
        let definition = directory.verifier(&task_with_image, Some(&task_with_image.steps[step]));
        let definition = definition.unwrap().unwrap();
        (definition.image.map(str::to_owned), definition.directory.into_string(), definition.bundled_tests)
    };
    assert_eq!(found(0), (Some("own".to_owned()), "tests".to_owned(), true));
    assert_eq!(found(1), (None, "steps/b/tests".to_owned(), true));
    assert_eq!(found(2), (Some("step".to_owned()), "steps/c/tests".to_owned(), true));

    let copy =
        "[environment]\ndocker_image = \"agent\"\nos = \"windows\"\n[verifier.environment]\ncpus = 1\n";
    let copy = task(copy);
    let definition = directory.verifier(&copy, None).unwrap().unwrap();
    assert_eq!(
        (definition.image, definition.os, definition.bundled_tests),
        (Some("agent"), Os::Windows, false)
    );
    assert_eq!(directory.verifier(&Task::default(), None), Ok(None));
}

/// A task with all that digests treat differently.
fn sample() -> (tempfile::TempDir, camino::Utf8PathBuf) {
    let more = [
        ("README.md", "about\n"),
        ("notes.txt", "not in a package\n"),
        ("tests/.harborignore", "secret*\n!secret.keep\n"),
        ("tests/secret.txt", "left out\n"),
        ("tests/secret.keep", "taken back\n"),
        ("tests/__pycache__/x.pyc", "left out of a package\n"),
        ("environment/a.b/x", "1"),
        ("environment/a/x", "2"),
        ("environment/é", "3"),
        (".git/HEAD", "ref: refs/heads/main\n"),
    ];
    let (place, root) = tree(&[FILES.as_slice(), &more].concat());
    fs_err::create_dir_all(root.join("solution/empty/empty")).unwrap();
    symlink("../instruction.md", root.join("tests/linked.md")).unwrap();
    symlink("a", root.join("environment/linked")).unwrap();
    (place, root)
}

/// The same digest by a second way: over a list of paths instead of a tree.
fn checksum_of(files: &[(&str, &str)]) -> String {
    let sha = |text: &str| hex(&Sha256::digest(text));
    let mut entries = Vec::new();
    let mut directories: Vec<&str> = Vec::new();
    for (path, text) in files {
        match path.split_once('/') {
            None => entries.push(format!("data:{}\0name:{path}", sha(text))),
            Some((directory, _)) if directories.contains(&directory) => {}
            Some((directory, _)) => {
                directories.push(directory);
                let below: Vec<(&str, &str)> = files
                    .iter()
                    .filter_map(|(path, text)| {
                        Some((path.strip_prefix(directory)?.strip_prefix('/')?, *text))
                    })
                    .collect();
                entries.push(format!("dirhash:{}\0name:{directory}", checksum_of(&below)));
            }
        }
    }
    entries.sort();
    sha(&entries.join("\0\0"))
}

#[test]
fn a_checksum_is_over_the_tree_without_what_is_left_out() {
    let (_place, root) = sample();
    let files = [
        FILES.as_slice(),
        &[
            ("README.md", "about\n"),
            ("notes.txt", "not in a package\n"),
            ("tests/secret.keep", "taken back\n"),
            ("tests/__pycache__/x.pyc", "left out of a package\n"),
            ("tests/linked.md", "do it\n"),
            ("environment/a.b/x", "1"),
            ("environment/a/x", "2"),
            ("environment/linked/x", "2"),
            ("environment/é", "3"),
            (".git/HEAD", "ref: refs/heads/main\n"),
        ],
    ]
    .concat();
    let found = checksum(&Listing::read(&root).unwrap()).unwrap();
    assert_eq!(found, checksum_of(&files));
    assert_eq!(
        found, "78c577c7c17f4b4485863e66c409d7b0f11f9be8f9e811563f247776d7262329",
        "what Harbor 0.25.0 says of these files"
    );
}

#[test]
fn a_content_digest_is_over_what_a_package_holds() {
    let (_place, root) = sample();
    let listing = |root: &Utf8Path| Listing::read(root).unwrap();
    let expected = [
        ("README.md", "about\n"),
        ("environment/Dockerfile", "FROM scratch\n"),
        ("environment/a.b/x", "1"),
        ("environment/a/x", "2"),
        ("environment/é", "3"),
        ("instruction.md", "do it\n"),
        ("task.toml", ""),
        ("tests/linked.md", "do it\n"),
        ("tests/secret.keep", "taken back\n"),
        ("tests/test.sh", "#!/bin/bash\n"),
    ];
    let lines = expected.map(|(path, text)| format!("{path}\0{}\n", hex(&Sha256::digest(text))));
    let expected = format!("sha256:{}", hex(&Sha256::digest(lines.concat())));
    assert_eq!(content(&listing(&root)).unwrap(), expected);
    assert_eq!(
        expected, "sha256:0e33db023eaf9d35940d3f2118c542d399b61e36a18d802774fd9f4159209750",
        "what Harbor 0.25.0 says of these files"
    );

    // A `.gitignore` takes the place of what is left out by default, and is no part of a package.
    let ignore = |text: &str| crate::util::fs::write_atomic(&root.join(".gitignore"), text.as_bytes(), 0o644);
    ignore("__pycache__/\n").unwrap();
    assert_eq!(content(&listing(&root)).unwrap(), expected);
    ignore("").unwrap();
    assert_ne!(content(&listing(&root)).unwrap(), expected);
}

#[test]
fn a_digest_of_all_files_is_sorted_by_names() {
    let (_place, root) = sample();
    let expected = [
        ("README.md", "about\n"),
        ("environment/Dockerfile", "FROM scratch\n"),
        // As texts, `a.b/x` would come first.
        ("environment/a/x", "2"),
        ("environment/a.b/x", "1"),
        ("environment/é", "3"),
        ("instruction.md", "do it\n"),
        ("notes.txt", "not in a package\n"),
        ("task.toml", ""),
        ("tests/.harborignore", "secret*\n!secret.keep\n"),
        ("tests/__pycache__/x.pyc", "left out of a package\n"),
        ("tests/linked.md", "do it\n"),
        ("tests/secret.keep", "taken back\n"),
        ("tests/secret.txt", "left out\n"),
        ("tests/test.sh", "#!/bin/bash\n"),
    ];
    let bytes = expected.map(|(path, text)| format!("{path}\0{text}\0")).concat();
    let expected = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    assert_eq!(all_files(&Listing::read(&root).unwrap()).unwrap(), expected);
}

#[test]
fn a_task_whose_files_are_elsewhere_has_no_checksum() {
    let (_place, root) = tree(&FILES);
    symlink("/etc/passwd", root.join("environment/link")).unwrap();
    let error = checksum(&Listing::read(&root).unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotAFile(path) if path == "environment/link"));
    let (_place, root) = tree(&FILES);
    symlink("..", root.join("environment/link")).unwrap();
    let error = checksum(&Listing::read(&root).unwrap()).unwrap_err();
    assert!(matches!(error, Error::Circle(ref path) if path == "environment/link"), "{error}");
    let (_place, root) = tree(&[]);
    assert!(matches!(checksum(&Listing::read(&root).unwrap()), Err(Error::Empty)));
}
