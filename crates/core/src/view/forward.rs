//! A forward, as people see it.

use serde::{Deserialize, Serialize};

use super::EnvRef;
use crate::error::ErrorReport;
use crate::model::{GuestPort, HostPort, PortState, ProjectName, Reach};
use crate::proxy::TrafficView;

/// A port of an env that somebody wants forwarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ForwardView {
    /// Whose.
    pub env: EnvRef,
    /// Name of its project; `None` in a file without one.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub project: Option<ProjectName>,
    /// Port inside of the env.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub guest: GuestPort,
    /// Port on this machine that envs share.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub host: HostPort,
    /// Port on this machine that is this env's alone, and stays so; `None` while it can't be had.
    #[cfg_attr(feature = "bindings", ts(type = "number | null"))]
    pub stable: Option<HostPort>,
    /// Host name that leads to this env on the shared port.
    pub name: String,
    /// What the listeners of the shared port do.
    pub state: PortState,
    /// Why they don't listen.
    pub problem: Option<ErrorReport>,
    /// Whether a connection to the shared port that names nobody goes to this env.
    pub focused: bool,
    /// From where the shared port can be reached.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub reach: Reach,
    /// What has passed.
    pub traffic: TrafficView,
}

impl ForwardView {
    /// Where a browser finds this env whoever has the focus.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}/", self.name, self.host)
    }

    /// Where it is found while it has the focus.
    #[must_use]
    pub fn shared_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.host)
    }

    /// Whether another one says the same, but for what has passed.
    #[must_use]
    pub fn is_still(&self, other: &Self) -> bool {
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

    /// The same as [`Self::url`] for what doesn't know `*.localhost`.
    #[must_use]
    pub fn stable_url(&self) -> Option<String> {
        self.stable.map(|port| format!("http://127.0.0.1:{port}/"))
    }
}

impl super::EnvView {
    /// Says of its ports what is forwarded of them.
    pub fn forwarded(&mut self, project_path: &str, forwards: &[ForwardView]) {
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
            // By its name it is found whoever has the focus.
            port.url = forward.url();
            port.stable = forward.stable;
        }
    }
}

/// What a change of focus did to one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct FocusMove {
    /// The port.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub port: HostPort,
    /// Who had it, if that is another.
    pub from: Option<EnvRef>,
    /// Connections to that one which keep it from moving: they aren't HTTP, and the port wasn't named.
    pub kept_by: Option<usize>,
}
