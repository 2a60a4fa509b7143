//! Images of other servers.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{Backend, Image};
use lxc_dev_manager_core::model::ImageName;
use lxc_dev_manager_tests::engines::{self, TestEngine};

use crate::life::{self, expect, on_runtime};
use crate::server::ImageServer;
use crate::visitor::Visitor;

/// Files of the test image, as built by `make engines`.
fn files() -> Result<PathBuf> {
    let lxd = engines::setting("LDM_TEST_LXD_DIR").or(engines::setting("LDM_TEST_INCUS_DIR"));
    let root = PathBuf::from(lxd.context("no engine")?);
    let images = root.parent().context("no directory")?.join("images");
    let prefix = engines::image().replace('/', "-");
    let found = std::fs::read_dir(&images)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hash = name.strip_prefix(&format!("{prefix}-")).unwrap_or_default();
            !hash.is_empty() && hash.chars().all(|c| c.is_ascii_hexdigit())
        });
    found.with_context(|| format!("no image in {}", images.display()))
}

/// An engine of this kind, with the visitor's remotes.
async fn here(visitor: &Visitor) -> Result<std::sync::Arc<dyn Backend>> {
    let engines = visitor.clients(true).await.engines();
    engines.into_iter().next().context("no engine")
}

pub fn an_image_server_of_the_users_own(engine: &TestEngine) -> Result<()> {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let alias = format!("shop/{random}");
    let server = ImageServer::start(&files()?, &alias)?;
    let visitor = Visitor::new(engine)?;
    visitor.configure(&format!(
        "  shop:\n    addr: https://{}\n    protocol: simplestreams\n    public: true\n",
        server.address
    ))?;
    let name = ImageName::parse(&format!("shop:{alias}"))?;
    on_runtime(async {
        let here = here(&visitor).await?;
        let instance = life::name()?;
        // The server's certificate is not stored yet.
        let refused = life::create(here.as_ref(), &instance, name.as_str()).await;
        ensure!(refused.is_err(), "an unknown server is trusted");
        visitor.write("servercerts/shop.crt", &server.certificate)?;
        let found = here.find_image(&name).await?;
        ensure!(matches!(found, Image::Simplestreams { .. }), "{found:?}");
        life::create(here.as_ref(), &instance, name.as_str()).await?;
        let started = here.start(&instance).await;
        let said = life::said(here.as_ref(), &instance, &["echo", "served"]).await;
        life::delete(here.as_ref(), &instance).await?;
        started?;
        ensure!(said? == "served\n");
        Ok(())
    })
}

pub fn an_image_of_another_engine(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    on_runtime(async {
        let here = here(&visitor).await?;
        let there = format!("lab:{}", engines::image());
        let found = here.find_image(&ImageName::parse(&there)?).await?;
        let Image::Remote(image) = &found else {
            anyhow::bail!("{found:?}");
        };
        ensure!(image.secret.is_some(), "a private image without a secret");
        ensure!(
            format!("{image:?}").contains("secret: Some(…)"),
            "{image:?}"
        );
        let instance = life::name()?;
        life::create(here.as_ref(), &instance, &there).await?;
        let made = here.instance(&instance).await?;
        life::delete(here.as_ref(), &instance).await?;
        ensure!(
            made.base_image == Some(image.fingerprint.clone()),
            "{made:?}"
        );
        let missing = ImageName::parse("lab:no-such-image")?;
        let words = ["remote `lab` has no image `no-such-image`"];
        expect(here.find_image(&missing).await, ErrorKind::NotFound, &words)?;
        // Its own image, by the client's name for the engine.
        let local = ImageName::parse(&format!("local:{}", engines::image()))?;
        let found = here.find_image(&local).await?;
        ensure!(matches!(found, Image::Local { .. }), "{found:?}");
        Ok(())
    })
}

pub fn similar_name_is_suggested(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?;
    visitor.configure("  shop:\n    addr: https://127.0.0.1:1\n    protocol: simplestreams\n")?;
    on_runtime(async {
        let here = here(&visitor).await?;
        let slip = ImageName::parse(&engines::image().replace("debian", "debain"))?;
        let words = ["did you mean", &format!("`{}`", engines::image())];
        expect(here.find_image(&slip).await, ErrorKind::NotFound, &words)?;
        let other = ImageName::parse("elsewhere:anything")?;
        let words = ["known images:", "shop:…"];
        expect(here.find_image(&other).await, ErrorKind::NotFound, &words)
    })
}
