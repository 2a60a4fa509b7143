//! The visible menu, updated item by item to match the model.

use std::collections::HashMap;

use tray_icon::menu::{IsMenuItem, Menu, MenuId, MenuItem, PredefinedMenuItem, Result, Submenu};

use super::model::{Kind, Node, TrayAction};

/// On Linux `set_text` of muda 0.20 has no effect on submenus; inserting the entry again shows the new text.
const RELABEL_BY_REINSERT: bool = cfg!(target_os = "linux");

/// The menu with the actions of its items.
pub(super) struct LiveMenu {
    root: Menu,
    entries: Vec<Entry>,
    actions: HashMap<MenuId, TrayAction>,
}

struct Entry {
    key: String,
    label: String,
    handle: Handle,
}

enum Handle {
    Item(MenuItem),
    Separator(PredefinedMenuItem),
    Sub(Submenu, Vec<Entry>),
}

/// A menu or a submenu.
enum Parent<'a> {
    Root(&'a Menu),
    Sub(&'a Submenu),
}

impl Parent<'_> {
    fn insert(&self, item: &dyn IsMenuItem, at: usize) -> Result<()> {
        match self {
            Self::Root(menu) => menu.insert(item, at),
            Self::Sub(menu) => menu.insert(item, at),
        }
    }

    fn remove(&self, item: &dyn IsMenuItem) -> Result<()> {
        match self {
            Self::Root(menu) => menu.remove(item),
            Self::Sub(menu) => menu.remove(item),
        }
    }
}

impl Entry {
    fn item(&self) -> &dyn IsMenuItem {
        match &self.handle {
            Handle::Item(item) => item,
            Handle::Separator(item) => item,
            Handle::Sub(item, _) => item,
        }
    }

    /// Whether the entry can be updated to the node in place.
    fn fits(&self, node: &Node) -> bool {
        self.key == node.key
            && matches!(
                (&self.handle, &node.kind),
                (Handle::Item(_), Kind::Item(_) | Kind::Text)
                    | (Handle::Separator(_), Kind::Separator)
                    | (Handle::Sub(..), Kind::Sub(_))
            )
    }
}

impl LiveMenu {
    pub(super) fn new(root: Menu) -> Self {
        Self {
            root,
            entries: Vec::new(),
            actions: HashMap::new(),
        }
    }

    /// Returns the action of an item.
    pub(super) fn action(&self, id: &MenuId) -> Option<TrayAction> {
        self.actions.get(id).cloned()
    }

    /// Updates the menu to match the nodes.
    pub(super) fn show(&mut self, nodes: &[Node]) -> Result<()> {
        let mut actions = HashMap::new();
        let root = self.root.clone();
        let shown = std::mem::take(&mut self.entries);
        self.entries = reconcile(&Parent::Root(&root), shown, nodes, &mut actions)?;
        self.actions = actions;
        Ok(())
    }
}

fn reconcile(
    parent: &Parent<'_>,
    shown: Vec<Entry>,
    nodes: &[Node],
    actions: &mut HashMap<MenuId, TrayAction>,
) -> Result<Vec<Entry>> {
    let mut kept = Vec::with_capacity(nodes.len());
    for entry in shown {
        if nodes.iter().any(|node| entry.fits(node)) {
            kept.push(entry);
        } else {
            parent.remove(entry.item())?;
        }
    }
    let mut result: Vec<Entry> = Vec::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        // Entries before `at` are final, so the kept ones start at `at`.
        let entry = match kept.iter().position(|entry| entry.fits(node)) {
            Some(0) => kept.remove(0),
            Some(other) => {
                let entry = kept.remove(other);
                parent.remove(entry.item())?;
                parent.insert(entry.item(), at)?;
                entry
            }
            None => {
                let entry = create(node);
                parent.insert(entry.item(), at)?;
                entry
            }
        };
        let reinsert = RELABEL_BY_REINSERT
            && entry.label != node.label
            && matches!(entry.handle, Handle::Sub(..));
        let entry = update(entry, node, actions)?;
        if reinsert {
            parent.remove(entry.item())?;
            parent.insert(entry.item(), at)?;
        }
        result.push(entry);
    }
    Ok(result)
}

fn create(node: &Node) -> Entry {
    let handle = match &node.kind {
        Kind::Text => Handle::Item(MenuItem::new(&node.label, false, None)),
        Kind::Item(_) => Handle::Item(MenuItem::new(&node.label, true, None)),
        Kind::Separator => Handle::Separator(PredefinedMenuItem::separator()),
        Kind::Sub(_) => Handle::Sub(Submenu::new(&node.label, true), Vec::new()),
    };
    Entry {
        key: node.key.clone(),
        label: node.label.clone(),
        handle,
    }
}

fn update(entry: Entry, node: &Node, actions: &mut HashMap<MenuId, TrayAction>) -> Result<Entry> {
    let Entry { key, label, handle } = entry;
    let renamed = label != node.label;
    let handle = match (handle, &node.kind) {
        (Handle::Item(item), kind) => {
            if renamed {
                item.set_text(&node.label);
            }
            let enabled = matches!(kind, Kind::Item(_));
            if item.is_enabled() != enabled {
                item.set_enabled(enabled);
            }
            if let Kind::Item(action) = kind {
                actions.insert(item.id().clone(), action.clone());
            }
            Handle::Item(item)
        }
        (Handle::Sub(menu, children), Kind::Sub(nodes)) => {
            if renamed {
                menu.set_text(&node.label);
            }
            let children = reconcile(&Parent::Sub(&menu), children, nodes, actions)?;
            Handle::Sub(menu, children)
        }
        (other, _) => other,
    };
    Ok(Entry {
        key,
        label: node.label.clone(),
        handle,
    })
}
