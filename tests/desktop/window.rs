//! The window, driven by WebDriver: tauri-driver before WebKitWebDriver.

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

/// How long anything may take to show up in the page.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A driver and its session.
pub struct Window {
    _driver: Driver,
    /// The session.
    pub client: Client,
}

/// Ends with the value, also where no session comes of it.
struct Driver(Child);

impl Window {
    /// Opens the window of the app that runs.
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
            .context("tauri-driver can't be started (make test does)")?;
        let driver = Driver(driver);
        // The driver passes requests on to WebKit's own, which may come up after it.
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

    /// Waits for an element that has this text, faded in or not.
    pub async fn says(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.wait(selector).await?;
        let shown = element.prop("textContent").await?.unwrap_or_default();
        ensure!(
            shown.contains(text),
            "{selector} says {shown:?}, not {text:?}"
        );
        Ok(())
    }

    /// Waits for an element that can be pressed, and presses it. One of an env that is busy can't be.
    pub async fn press(&self, selector: &str) -> Result<()> {
        let ready = format!("{selector}:not([aria-disabled=true])");
        Ok(self.wait(&ready).await?.click().await?)
    }

    /// Ends the session, and the window with it.
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
            bail!("tauri-driver doesn't answer");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
