//! The view of a forward.

use serde::{Deserialize, Serialize};

use super::EnvRef;
use crate::error::ErrorReport;
use crate::model::{GuestPort, HostPort, ListenScope, PortState, ProjectName};
use crate::proxy::TrafficView;

/// A port of an env that is to be forwarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ForwardView {
    pub env: EnvRef,
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub project: Option<ProjectName>,
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub guest: GuestPort,
    /// Port of this machine that envs share.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub host: HostPort,
    /// Port of this machine that belongs to this env only, permanently; `None` while it is in use.
    #[cfg_attr(feature = "bindings", ts(type = "number | null"))]
    pub stable: Option<HostPort>,
    /// Host name of this env on the shared port.
    pub name: String,
    /// State of the shared port.
    pub state: PortState,
    pub problem: Option<ErrorReport>,
    /// Whether this env is the default target of the shared port.
    pub focused: bool,
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub reach: ListenScope,
    pub traffic: TrafficView,
}

impl ForwardView {
    /// URL with the host name of this env.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}/", self.name, self.host)
    }

    /// URL of the shared port, which leads to its default target.
    #[must_use]
    pub fn shared_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.host)
    }

    /// Compares everything but the traffic.
    #[must_use]
    pub fn eq_ignoring_traffic(&self, other: &Self) -> bool {
        let Self {
            env,
            project,
            guest,
            host,
            stable,
            name,
            state,
            problem,
            focused,
            reach,
            traffic: _,
        } = self;
        (env, guest, host, stable, state, focused)
            == (
                &other.env,
                &other.guest,
                &other.host,
                &other.stable,
                &other.state,
                &other.focused,
            )
            && (project, name, problem, reach)
                == (&other.project, &other.name, &other.problem, &other.reach)
    }

    /// Like [`Self::url`], for clients that cannot resolve `*.localhost`.
    #[must_use]
    pub fn stable_url(&self) -> Option<String> {
        self.stable.map(|port| format!("http://127.0.0.1:{port}/"))
    }
}

impl super::EnvView {
    /// Updates the ports with the state of their forwards.
    pub fn apply_forwards(&mut self, project_path: &str, forwards: &[ForwardView]) {
        let own = |forward: &&ForwardView| {
            forward.env.env == self.name && forward.env.project_path == project_path
        };
        let own: Vec<&ForwardView> = forwards.iter().filter(own).collect();
        for port in &mut self.ports {
            let Some(forward) = own.iter().find(|forward| forward.guest == port.guest) else {
                continue;
            };
            port.state = forward.state;
            port.focused = forward.focused;
            port.url = forward.url();
            port.stable = forward.stable;
        }
    }
}

/// The result of a focus change for one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct FocusMove {
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub port: HostPort,
    /// The previous default target, if it was another env.
    pub from: Option<EnvRef>,
    /// Number of open connections, not HTTP, to the previous target; set if they prevented the change.
    #[serde(rename = "kept_by")]
    pub open_connections: Option<usize>,
}
