//! Drives the window with WebDriver: tauri-driver and WebKitWebDriver.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use lxc_dev_manager_tests::desktop::screen::Screen;
use lxc_dev_manager_tests::engines::setting;
use lxc_dev_manager_tests::workspace::{Workspace, program};

/// Time for elements to appear.
const TIMEOUT: Duration = Duration::from_secs(60);

pub struct Window {
    _driver: Driver,
    pub client: Client,
}

/// Killed on drop, even without a session.
struct Driver(Child);

impl Window {
    /// Opens the window of the running app.
    pub async fn open(screen: &Screen, workspace: &Workspace) -> Result<Self> {
        let (port, native) = (free_port()?, free_port()?);
        let mut command = Command::new(tauri_driver());
        screen.prepare(&mut command, workspace);
        command.args([
            "--port",
            &port.to_string(),
            "--native-port",
            &native.to_string(),
        ]);
        let driver = command
            .spawn()
            .context("cannot start tauri-driver (`make test` sets its path)")?;
        let driver = Driver(driver);
        // The WebKit driver may start later.
        wait_for(native)?;
        wait_for(port)?;
        let mut capabilities = serde_json::Map::new();
        let application = program("lxc-dev-manager-window")?;
        capabilities.insert(
            "tauri:options".to_owned(),
            serde_json::json!({ "application": application }),
        );
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .context("no session with the window")?;
        Ok(Self {
            _driver: driver,
            client,
        })
    }

    /// Waits for an element.
    pub async fn wait(&self, selector: &str) -> Result<fantoccini::elements::Element> {
        let found = self
            .client
            .wait()
            .at_most(TIMEOUT)
            .for_element(Locator::Css(selector))
            .await;
        match found {
            Ok(element) => Ok(element),
            Err(error) => {
                let page = self.client.find(Locator::Css("body")).await?.text().await?;
                bail!("never: {selector}: {error}; the page says {page}")
            }
        }
    }

    /// Waits for an element and checks its text.
    pub async fn says(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.wait(selector).await?;
        let shown = element.prop("textContent").await?.unwrap_or_default();
        ensure!(
            shown.contains(text),
            "{selector} says {shown:?}, not {text:?}"
        );
        Ok(())
    }

    /// Waits until an element is gone.
    pub async fn gone(&self, selector: &str) -> Result<()> {
        let begun = Instant::now();
        while !self
            .client
            .find_all(Locator::Css(selector))
            .await?
            .is_empty()
        {
            ensure!(begun.elapsed() < TIMEOUT, "still there: {selector}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Writes a picture for people into the directory `LDM_TEST_PICTURES`, if set.
    pub async fn picture(&self, name: &str) -> Result<()> {
        if let Some(directory) = std::env::var_os("LDM_TEST_PICTURES") {
            let path = PathBuf::from(directory).join(name).with_extension("png");
            std::fs::write(path, self.client.screenshot().await?)?;
        }
        Ok(())
    }

    /// Clicks an element once it is enabled.
    pub async fn press(&self, selector: &str) -> Result<()> {
        let ready = format!("{selector}:not([aria-disabled=true])");
        Ok(self.wait(&ready).await?.click().await?)
    }

    /// Ends the session and closes the window.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.clone().close().await?)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tauri_driver() -> PathBuf {
    setting("LDM_TAURI_DRIVER").map_or_else(|| "tauri-driver".into(), PathBuf::from)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > Duration::from_secs(20) {
            bail!("tauri-driver not responding");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
