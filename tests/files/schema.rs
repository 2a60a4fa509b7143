//! `docs/containers.schema.json`, which editors check a file against, accepts what the program accepts.

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use lxc_dev_manager_core::model::{EnvName, GuestPort};
use lxc_dev_manager_core::project::{File, json_schema};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn schema() -> Value {
    let text = std::fs::read_to_string(repository().join("docs/containers.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

fn as_json(text: &str) -> Value {
    let value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
    serde_json::to_value(value).unwrap()
}

/// What the schema has against a text.
fn complaints(validator: &Validator, text: &str) -> Vec<String> {
    let file = as_json(text);
    let errors = validator.iter_errors(&file);
    errors.map(|error| error.to_string()).collect()
}

/// Whether the program takes a file with the env `dev`, all of it.
fn is_taken(text: &str) -> bool {
    let Ok(file) = File::parse(text) else {
        return false;
    };
    let dev: EnvName = "dev".parse().unwrap();
    let all = [
        file.backend().is_ok(),
        file.remote().is_ok(),
        file.ports(&dev).is_ok(),
        file.user(&dev).is_ok(),
        file.limits(&dev).is_ok(),
        file.nesting(&dev).is_ok(),
        file.native_ports(&dev).is_ok(),
        file.host_variables(&dev).is_ok(),
        file.reach(&dev, GuestPort::new(1).unwrap()).is_ok(),
    ];
    all.into_iter().all(|taken| taken)
}

/// Each field with its default and description, from the schema.
fn fields() -> String {
    let schema = json_schema();
    let mut rows = Vec::new();
    let mut add = |prefix: &str, place: &Value| {
        for (name, field) in place["properties"].as_object().unwrap() {
            let default = match field.get("default") {
                Some(default) => format!(
                    "`{}`",
                    default.as_str().map_or(default.to_string(), str::to_owned)
                ),
                None => String::new(),
            };
            let description = field["description"].as_str().unwrap();
            let description = description.replace('\n', " ");
            rows.push(format!(
                "| `{prefix}{name}` | {default} | {description} |\n"
            ));
        }
    };
    let schema = schema.as_value();
    let definitions = &schema["definitions"];
    add("", schema);
    add("", &definitions["env"]);
    add("user.", &definitions["user"]);
    add("mounts[].", &definitions["mount"]);
    rows.concat()
}

#[test]
fn schema_and_docs_are_up_to_date() {
    let docs = repository().join("docs");
    let schema = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    let page = std::fs::read_to_string(docs.join("containers-yaml.md")).unwrap();
    let (head, rest) = page.split_once("<!-- fields -->\n").unwrap();
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    let page = format!(
        "{head}<!-- fields -->\n| field | default | meaning |\n|---|---|---|\n{}<!-- end -->{tail}",
        fields()
    );
    for (file, fresh) in [
        ("containers.schema.json", schema),
        ("containers-yaml.md", page),
    ] {
        let path = docs.join(file);
        if std::env::var_os("LDM_WRITE_TYPES").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(committed == fresh, "{file} is stale: run `make types`");
    }
}

#[test]
fn every_example_of_the_docs_is_valid() {
    let validator = validator();
    let mut examples = 0;
    let pages = std::fs::read_dir(repository().join("docs")).unwrap();
    let pages = pages.map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md"));
    for page in pages.chain([repository().join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        let blocks = text.split("```yaml\n").skip(1);
        for block in blocks.map(|block| block.split("```").next().unwrap()) {
            let wrong = complaints(&validator, block);
            assert!(wrong.is_empty(), "{}: {wrong:?}\n{block}", page.display());
            assert!(File::parse(block).is_ok(), "{}:\n{block}", page.display());
            examples += 1;
        }
    }
    for path in [repository().join("examples/containers.yaml")]
        .iter()
        .filter(|path| path.exists())
    {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            complaints(&validator, &text).is_empty(),
            "{}",
            path.display()
        );
    }
    assert!(examples > 0);
}

const GOOD: [&str; 14] = [
    "",
    "project: 2024\ncontainers:\n",
    "containers: {dev: }\n",
    "x-of-ours: {a: b}\ncontainers: {dev: {x-y: 1}}\n",
    "containers: {dev: {image: 2024-01-15, user: {name: null, password: 0123}}}\n",
    "containers: {dev: {ports: [], cpus: 2, memory: 4GiB, disk: 1000000}}\n",
    "containers: {dev: {memory: ' 2 GB ', nesting: false, autostart: true}}\n",
    "containers: {dev: {forwarding: native, rosetta: true}, fe: {forwarding: ours}, be: {forwarding: }}\n",
    "containers: {dev: {nesting: docker, env: [EDITOR, _x], setup: true}}\n",
    "containers: {dev: {mounts: [{host: ~, guest: /home/me}, {host: ., guest: //work, force: true}]}}\n",
    "containers: {dev: {snapshots: [{name: old, description: 7, created: x}]}}\n",
    "containers: {dev: {snapshots: {s: , t: {description: x, created_at: 2026-01-15T14:22:00Z}}}}\n",
    "containers: {dev: {wake: true, ports: [8000], listen: {8000: everywhere, 80: 192.168.1.5}}}\n",
    "backend: lxc\nremote: build-box\ndefaults:\ncontainers: {dev: {}}\n",
];

const BAD: [&str; 29] = [
    "[]\n",
    "text\n",
    "project: a b\n",
    "backend: docker\n",
    "remote: 'a:b'\n",
    "remote: -x\n",
    "defaults: []\n",
    "containers: [dev]\n",
    "containers: {2dev: {}}\n",
    "containers: {a--b: {}}\n",
    "containers: {dev-: {}}\n",
    "containers: {List: {}}\n",
    "containers: {dev: text}\n",
    "containers: {dev: {ports: [0]}}\n",
    "containers: {dev: {ports: [80, 80]}}\n",
    "containers: {dev: {ports: [65536]}}\n",
    "containers: {dev: {cpus: 0}}\n",
    "containers: {dev: {memory: lots}}\n",
    "containers: {dev: {nesting: maybe}}\n",
    "containers: {dev: {user: {name: '$(id)'}}}\n",
    "containers: {dev: {user: {password: ''}}}\n",
    "containers: {dev: {env: [A=b]}}\n",
    "containers: {dev: {mounts: [{host: .}]}}\n",
    "containers: {dev: {autostart: maybe}}\n",
    "containers: {dev: {wake: maybe}}\n",
    "containers: {dev: {forwarding: theirs}}\n",
    "containers: {dev: {rosetta: maybe}}\n",
    "containers: {dev: {listen: {8000: the-world}}}\n",
    "containers: {dev: {listen: {0: everywhere}}}\n",
];

#[test]
fn schema_accepts_what_the_program_accepts() {
    let validator = validator();
    for text in GOOD {
        let wrong = complaints(&validator, text);
        assert!(wrong.is_empty() && is_taken(text), "{text}: {wrong:?}");
    }
    for text in BAD {
        assert!(
            !complaints(&validator, text).is_empty(),
            "the schema takes {text}"
        );
        assert!(!is_taken(text), "the program takes {text}");
    }
}
