//! Every password that the project file allows logs in unchanged.

use anyhow::{Result, ensure};
use lxc_dev_manager_core::provision::{Password, User};
use lxc_dev_manager_tests::engines::{TestEngine, busybox_image, image};

use super::guest::{Guest, user};

/// Shell syntax, options, format strings, separators, blanks and non-ASCII text.
const PASSWORDS: [&str; 18] = [
    "dev",
    "x:y:z",
    "-n",
    "--help",
    " leading",
    "trailing ",
    "two  blanks   ",
    "it's \"quoted\"",
    "back\\slash\\n at the end\\",
    "%s%n%d",
    "$(touch /pwned)",
    "`touch /pwned`",
    "'; touch /pwned; '",
    "\" && touch /pwned || \"",
    "a|touch /pwned&",
    "ünï-пароль-日本語",
    "*",
    "!$6$salt$hash",
];

fn log_in(engine: &TestEngine, image: &str) -> Result<()> {
    let guest = Guest::of(engine, image)?;
    guest.set_up(&user("ada", "another")?)?;
    let long = "x".repeat(200);
    for password in PASSWORDS.into_iter().chain([long.as_str()]) {
        let ada = user("ada", password)?;
        guest.change(&ada)?;
        ensure!(
            guest.logs_in(&ada, password)?,
            "{password:?} does not log in"
        );
    }
    // The trailing blank counts.
    let ada = user("ada", "trailing ")?;
    guest.change(&ada)?;
    ensure!(
        !guest.logs_in(&ada, "trailing")?,
        "a truncated password logs in"
    );
    let trace = guest.run(&["ls", "/pwned", "/home/ada/pwned"])?;
    ensure!(
        trace.code != 0 && trace.stdout.is_empty(),
        "a password was executed: {trace:?}"
    );
    Ok(())
}

pub fn log_in_exactly_on_debian(engine: &TestEngine) -> Result<()> {
    log_in(engine, &image())
}

pub fn log_in_exactly_on_busybox(engine: &TestEngine) -> Result<()> {
    log_in(engine, &busybox_image())
}

pub fn log_in_only_if_one_is_set(engine: &TestEngine) -> Result<()> {
    let guest = Guest::of(engine, &busybox_image())?;
    let unnamed = User {
        name: "ada".parse()?,
        password: Password::parse("dev")?,
        has_explicit_password: false,
    };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHnBn0rYc8Gx1kZ1s5WnT0xgqk2gqk1Yx1mQ2uY7yq5b a";
    guest.set_up_with(&unnamed, &[key.to_owned()])?;
    ensure!(
        !guest.logs_in(&unnamed, "dev")?,
        "an unset password logs in"
    );
    // Without a key the password is the only login.
    guest.set_up(&unnamed)?;
    ensure!(guest.logs_in(&unnamed, "dev")?, "no login works");
    Ok(())
}
