//! The programs of a node, by the names that `node/component` starts them by.

use std::fmt;

/// A process of the node that can be stopped, killed, paused and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The API server's store. It lies in memory, and what it holds is lost with the node, not with the process.
    Etcd,
    /// Runs containers. Its shims, and so the pods, live on without it.
    Containerd,
    /// The API.
    ApiServer,
    /// Makes pods of deployments, endpoints of services, and default service accounts.
    ControllerManager,
    /// Gives pods their node.
    Scheduler,
    /// Runs pods by means of containerd.
    Kubelet,
    /// Leads service addresses to pods.
    KubeProxy,
    /// Answers for names of services.
    CoreDns,
    /// Hands out images to everybody.
    Registry,
    /// Hands out images to who has its credentials.
    PrivateRegistry,
}

impl Component {
    /// In the order in which a node starts them.
    pub const ALL: [Self; 10] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::Registry,
        Self::PrivateRegistry,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::CoreDns,
    ];

    /// What a node has beside pods, in the order in which it is started. The others would be on other machines.
    pub(crate) const OF_EVERY_NODE: [Self; 3] = [Self::Containerd, Self::Kubelet, Self::KubeProxy];

    /// Of its program's log and of what `cluster` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::CoreDns => "coredns",
            Self::Registry => "registry",
            Self::PrivateRegistry => "private-registry",
        }
    }

    /// Whether it only gets an error, and waits before its next try, when it starts before the API server answers.
    pub(crate) fn needs_apiserver(self) -> bool {
        matches!(self, Self::ControllerManager | Self::Scheduler | Self::Kubelet | Self::KubeProxy | Self::CoreDns)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
