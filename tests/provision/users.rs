//! Every user name that the project file allows works, or is refused with the name.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::provision;
use lxc_dev_manager_tests::engines::{TestEngine, busybox_image, image};

use super::guest::{Guest, user};

fn work(engine: &TestEngine, image: &str) -> Result<()> {
    let guest = Guest::of(engine, image)?;
    guest.set_up(&user("ada", "x")?)?;
    let long = "n".repeat(32);
    // `users` and `sudo` are groups of the image.
    for name in ["ada", "_x-1_", "users", "sudo", long.as_str(), "root"] {
        let user = user(name, "pass word")?;
        // sshd has to reload its configuration for root.
        match name {
            "root" => guest.set_up(&user)?,
            _ => guest.change(&user)?,
        }
        ensure!(
            guest.ok_as(&user, &["id", "-un"])? == name,
            "{name} is another user"
        );
        ensure!(
            guest.ok_as(&user, &["sudo", "-n", "id", "-u"])? == "0",
            "{name} has no sudo"
        );
        let home = guest.ok_as(&user, &["pwd"])?;
        let wanted = if name == "root" {
            "/root".to_owned()
        } else {
            format!("/home/{name}")
        };
        ensure!(home == wanted, "{name} has the home {home}");
        guest.ok_as(&user, &["touch", "mine"])?;
        ensure!(guest.logs_in(&user, "pass word")?, "{name} does not log in");
    }
    Ok(())
}

pub fn of_any_allowed_name_work_on_debian(engine: &TestEngine) -> Result<()> {
    work(engine, &image())
}

pub fn of_any_allowed_name_work_on_busybox(engine: &TestEngine) -> Result<()> {
    work(engine, &busybox_image())
}

pub fn are_changed_atomically(engine: &TestEngine) -> Result<()> {
    for image in [image(), busybox_image()] {
        let guest = Guest::of(engine, &image)?;
        let (ada, one, two) = (
            user("ada", "one")?,
            "ssh-ed25519 AAAA one",
            "ssh-ed25519 AAAA two",
        );
        guest.set_up_with(&ada, &[one.to_owned()])?;
        // Hard links keep the old files: a change replaces them.
        let keep = "cd /home/ada/.ssh && ln authorized_keys kept && ln /etc/shadow /etc/shadow.kept && \
                    cat /etc/shadow && stat -c '%a %u %g' /etc/shadow";
        let before = guest.run(&["sh", "-c", keep])?;
        ensure!(before.code == 0, "{image}: {before:?}");
        guest.set_up_with(&user("ada", "two")?, &[two.to_owned()])?;
        let keys = guest.run(&[
            "cat",
            "/home/ada/.ssh/kept",
            "/home/ada/.ssh/authorized_keys",
        ])?;
        ensure!(
            keys.stdout == format!("{one}\n{two}\n").into_bytes(),
            "{image}: {keys:?}"
        );
        let after = "cat /etc/shadow.kept && stat -c '%a %u %g' /etc/shadow";
        let after = guest.run(&["sh", "-c", after])?;
        ensure!(before == after, "{image}: {before:?} {after:?}");
        let owner = "stat -c '%a %U' /home/ada/.ssh/authorized_keys";
        let owner = guest.run(&["sh", "-c", owner])?;
        ensure!(owner.stdout == b"600 ada\n", "{image}: {owner:?}");
    }
    Ok(())
}

pub fn of_the_image_are_adopted(engine: &TestEngine) -> Result<()> {
    let guest = Guest::of(engine, &image())?;
    let made = guest.run(&["useradd", "-m", "-u", "1000", "-s", "/bin/sh", "ubuntu"])?;
    ensure!(made.code == 0, "{made:?}");
    let ubuntu = user("ubuntu", "mine now")?;
    guest.set_up(&ubuntu)?;
    ensure!(guest.ok_as(&ubuntu, &["id", "-u"])? == "1000");
    ensure!(guest.ok_as(&ubuntu, &["sudo", "-n", "id", "-u"])? == "0");
    ensure!(
        guest.logs_in(&ubuntu, "mine now")?,
        "ubuntu does not log in"
    );
    Ok(())
}

pub fn of_services_are_refused_by_name(engine: &TestEngine) -> Result<()> {
    for (image, names) in [
        (image(), ["www-data", "sshd", "messagebus", "nobody"]),
        (busybox_image(), ["ftp", "sshd", "ftp", "nobody"]),
    ] {
        let guest = Guest::of(engine, &image)?;
        for name in names {
            let before = guest.run(&["cat", "/etc/passwd", "/etc/shadow"])?;
            let error = guest.set_up(&user(name, "x")?).err();
            let error = error.with_context(|| format!("{name} was taken"))?;
            ensure!(error.kind() == ErrorKind::Guest);
            let said = error.report().message;
            ensure!(
                said.contains("system user") && said.contains(name),
                "{said}"
            );
            let after = guest.run(&["cat", "/etc/passwd", "/etc/shadow"])?;
            ensure!(
                before == after,
                "{name}: the accounts were changed: {before:?} {after:?}"
            );
        }
    }
    Ok(())
}

pub fn can_log_in_again_after_a_restart_of_busybox(engine: &TestEngine) -> Result<()> {
    let guest = Guest::of(engine, &busybox_image())?;
    let ada = user("ada", "secret")?;
    // Repeated set-up adds no duplicates.
    guest.set_up(&ada)?;
    guest.set_up(&ada)?;
    let table = guest.run(&["grep", "-c", "sshd$", "/etc/inittab"])?;
    ensure!(table.stdout == b"2\n", "{table:?}");
    let backend = guest.backend.as_ref();
    guest.runtime.block_on(async {
        backend.stop(&guest.name, false).await?;
        backend.start(&guest.name).await?;
        provision::wait_for_network(backend, &guest.name).await
    })?;
    // init starts sshd after the network, so wait for its socket.
    let wait = "i=0; while ! grep -q ':0016 .* 0A ' /proc/net/tcp; do i=$((i + 1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done";
    let listens = guest.run(&["sh", "-c", wait])?;
    ensure!(listens.code == 0, "sshd is not started with the system");
    ensure!(guest.logs_in(&ada, "secret")?, "ada does not log in");
    Ok(())
}
