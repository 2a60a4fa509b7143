//! A tray that reads the app's menu and selects entries.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use zbus::message::Header;
use zbus::zvariant::{OwnedValue, Structure, Value};
use zbus::{Connection, MatchRule, MessageStream, Proxy, interface};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Registers tray items.
struct Watcher {
    items: Vec<String>,
    registered: mpsc::Sender<String>,
}

#[interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    async fn register_status_notifier_item(
        &mut self,
        #[zbus(header)] header: Header<'_>,
        service: String,
    ) {
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        let item = if service.starts_with('/') {
            format!("{sender}{service}")
        } else {
            service
        };
        self.items.push(item.clone());
        self.registered.send(item).await.ok();
    }

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        self.items.clone()
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

/// Receives notifications.
struct Notifications {
    shown: mpsc::Sender<String>,
}

#[interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    #[allow(clippy::too_many_arguments)] // the interface's
    async fn notify(
        &self,
        _app: String,
        _replaces: u32,
        _icon: String,
        summary: String,
        _body: String,
        _actions: Vec<String>,
        _hints: std::collections::HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        self.shown.send(summary).await.ok();
        1
    }

    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".to_owned()]
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        ("test".into(), "test".into(), "1".into(), "1.2".into())
    }
}

pub struct Tray {
    connection: Connection,
    registered: mpsc::Receiver<String>,
    /// Titles of notifications.
    pub notifications: mpsc::Receiver<String>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    id: i32,
    pub label: String,
    pub enabled: bool,
    pub below: Vec<Entry>,
}

impl Tray {
    /// Starts a tray on this bus.
    pub async fn on(address: &str) -> Result<Self> {
        let (registered, registrations) = mpsc::channel(8);
        let (shown, notifications) = mpsc::channel(64);
        let connection = zbus::connection::Builder::address(address)?
            .serve_at(
                "/StatusNotifierWatcher",
                Watcher {
                    items: Vec::new(),
                    registered,
                },
            )?
            .serve_at("/org/freedesktop/Notifications", Notifications { shown })?
            .name("org.kde.StatusNotifierWatcher")?
            .name("org.freedesktop.Notifications")?
            .build()
            .await?;
        Ok(Self {
            connection,
            registered: registrations,
            notifications,
        })
    }

    /// The menu of the next registered item.
    pub async fn menu(&mut self) -> Result<Menu> {
        let item = tokio::time::timeout(TIMEOUT, self.registered.recv()).await;
        let item = item.context("no item appeared")?.context("no watcher")?;
        // An item without a path is at the standard path.
        let (service, path) = item
            .split_once('/')
            .unwrap_or((&item, "StatusNotifierItem"));
        let (service, path) = (service.to_owned(), format!("/{path}"));
        let item = Proxy::new(
            &self.connection,
            service.clone(),
            path,
            "org.kde.StatusNotifierItem",
        )
        .await?;
        let path: zbus::zvariant::OwnedObjectPath = item.get_property("Menu").await?;
        let proxy = Proxy::new(
            &self.connection,
            service.clone(),
            path,
            "com.canonical.dbusmenu",
        )
        .await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(service)?
            .interface("com.canonical.dbusmenu")?
            .build();
        let changes = MessageStream::for_match_rule(rule, &self.connection, Some(256)).await?;
        Ok(Menu { proxy, changes })
    }
}

pub struct Menu {
    proxy: Proxy<'static>,
    changes: MessageStream,
}

impl Menu {
    pub async fn entries(&self) -> Result<Vec<Entry>> {
        let reply = self
            .proxy
            .call_method("GetLayout", &(0, -1, Vec::<String>::new()))
            .await?;
        let body = reply.body();
        let layout: Structure<'_> = body.deserialize()?;
        let [_revision, Value::Structure(root)] = layout.fields() else {
            bail!("unexpected layout: {layout:?}");
        };
        Ok(entry(root)?.below)
    }

    /// Waits until the menu meets a condition.
    pub async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&[Entry]) -> bool,
    ) -> Result<Vec<Entry>> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            let entries = match self.entries().await {
                // Items register before their menu is on the bus.
                Err(error) if is_unknown(&error) => {
                    ensure!(tokio::time::Instant::now() < deadline, error);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                entries => entries?,
            };
            if wanted(&entries) {
                return Ok(entries);
            }
            if tokio::time::timeout_at(deadline, self.changes.next())
                .await
                .is_err()
            {
                bail!("never: {what}; the menu is {entries:#?}");
            }
        }
    }

    /// Selects an entry by a path of label prefixes.
    pub async fn press(&self, entries: &[Entry], path: &[&str]) -> Result<()> {
        let entry = find(entries, path).with_context(|| format!("no {path:?} in {entries:#?}"))?;
        if !entry.enabled {
            bail!("disabled: {path:?}");
        }
        let event = (entry.id, "clicked", Value::from(""), 0_u32);
        self.proxy.call_method("Event", &event).await?;
        Ok(())
    }
}

fn is_unknown(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(zbus::Error::MethodError(name, ..))
            if name.as_str() == "org.freedesktop.DBus.Error.UnknownMethod"
    )
}

/// Finds an entry by a path of label prefixes.
pub fn find<'a>(entries: &'a [Entry], path: &[&str]) -> Option<&'a Entry> {
    let (first, rest) = path.split_first()?;
    let found = entries
        .iter()
        .find(|entry| entry.label.starts_with(first))?;
    if rest.is_empty() {
        Some(found)
    } else {
        find(&found.below, rest)
    }
}

/// `(ia{sv}av)`: id, properties, children.
fn entry(node: &Structure<'_>) -> Result<Entry> {
    let [
        Value::I32(id),
        Value::Dict(properties),
        Value::Array(children),
    ] = node.fields()
    else {
        bail!("unexpected layout: {node:?}");
    };
    let label: Option<String> = properties.get(&"label")?;
    let enabled: Option<bool> = properties.get(&"enabled")?;
    let mut below = Vec::new();
    for child in children.iter() {
        let inner = if let Value::Value(inner) = child {
            inner.as_ref()
        } else {
            child
        };
        let Value::Structure(node) = inner else {
            bail!("unexpected child: {inner:?}")
        };
        below.push(entry(node)?);
    }
    Ok(Entry {
        id: *id,
        label: label.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
        below,
    })
}
