//! Any text is read or refused; and changed as meant, losing nothing, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lxc_dev_manager_core::model::{ByteSize, EnvName, Limits};
use lxc_dev_manager_core::project::{Change, Entry, File, NewEnv};

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(before) = File::parse(text) else {
        return;
    };
    let (dev, new) = (name("dev"), name("fresh"));
    let change = change(*choice, &dev, &new, text);
    let Ok(after) = change.apply(text) else {
        return;
    };
    let file = File::parse(&after).expect("the program can't read what it wrote");
    let entry = |file: &File, env: &EnvName| file.entry(env).map(plain);
    assert_eq!(others(&before, &dev, &new), others(&file, &dev, &new));
    assert_eq!(before.defaults, file.defaults);
    assert_eq!(
        (&before.project, &before.backend, &before.remote),
        (&file.project, &file.backend, &file.remote)
    );
    match &change {
        Change::RemoveEnv { .. } => assert_eq!(file.entry(&dev), None),
        Change::RenameEnv { .. } => assert_eq!(entry(&file, &new), entry(&before, &dev)),
        Change::CloneEnv { .. } => {
            assert_eq!(entry(&file, &dev), entry(&before, &dev));
            let source = entry(&before, &dev).map(|entry| Entry {
                snapshots: Default::default(),
                ..entry
            });
            assert_eq!(entry(&file, &new), source);
        }
        Change::AddEnv(added) => {
            assert_eq!(file.image(&added.env).as_ref(), Some(&added.image));
            // A carriage return alone ends a line too.
            let lines = text.split(['\n', '\r']).map(str::trim);
            let mut comments = lines.filter(|line| line.starts_with("# "));
            assert!(comments.all(|comment| after.contains(comment)));
        }
        _ => {}
    }
});

fn name(text: &str) -> EnvName {
    text.parse().expect("a good name")
}

fn change(choice: u8, dev: &EnvName, new: &EnvName, text: &str) -> Change {
    let added = |env: &EnvName| NewEnv::new(env.clone(), "debian:12".parse().expect("a good name"));
    let full = |env: &EnvName| NewEnv {
        user: Some("ada".parse().expect("a good name")),
        limits: Limits {
            cpus: Some(2),
            memory: Some(ByteSize(4 << 30)),
            disk: None,
        },
        ..added(env)
    };
    let snapshot = "s1".parse().expect("a good name");
    match choice % 9 {
        0 => Change::AddEnv(added(new)),
        1 => Change::AddEnv(full(new)),
        2 => Change::AddEnv(full(dev)),
        3 => Change::RemoveEnv { env: dev.clone() },
        4 => Change::CloneEnv {
            source: dev.clone(),
            env: new.clone(),
        },
        5 => Change::RenameEnv {
            env: dev.clone(),
            new: new.clone(),
        },
        6 => Change::RemoveSnapshot {
            env: dev.clone(),
            snapshot,
        },
        7 => Change::RestoreEnv {
            env: new.clone(),
            before: text.replace("dev", "fresh"),
        },
        _ => Change::AddSnapshot {
            env: dev.clone(),
            snapshot,
            description: Some("a: b # c".to_owned()),
            created_at: "2026-01-15T14:22:00Z".parse().expect("a time"),
        },
    }
}

/// What the file says of the envs that no change is about.
fn others(file: &File, dev: &EnvName, new: &EnvName) -> Vec<(String, Entry)> {
    let about = [dev.as_str(), new.as_str()];
    let others = file.containers.iter();
    let others = others.filter(|(name, _)| !about.contains(&name.as_str()));
    others
        .map(|(name, entry)| (name.clone(), plain(entry)))
        .collect()
}

/// A text in lines at the very end of a file has another end once something follows it.
fn plain(entry: &Entry) -> Entry {
    let setup = entry.setup.as_deref();
    let setup = setup.map(|text| text.trim_end_matches('\n').to_owned());
    Entry {
        setup,
        ..entry.clone()
    }
}
