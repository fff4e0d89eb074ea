//! Writes what the programs of a node read, from the forms in `node/conf`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::certificates;
use crate::place::Place;
use crate::programs::{self, Programs};
use crate::registry::Access;
use crate::settings::{Containerd, Settings};

/// Imported at the start, so that no pod waits for a pull of what it does not name.
pub(crate) const PAUSE_IMAGE: &str = "wisp.test/pause:1";

/// A form, and where in the cluster's folder it goes filled.
const FORMS: [(&str, &str); 7] = [
    ("kubelet.yaml", "conf/kubelet.yaml"),
    ("kube-proxy.yaml", "conf/kube-proxy.yaml"),
    ("Corefile", "conf/Corefile"),
    ("registry.yaml", "conf/registry.yaml"),
    ("private-registry.yaml", "conf/private-registry.yaml"),
    ("htpasswd", "conf/htpasswd"),
    ("podnet.conflist", "cni.d/10-podnet.conflist"),
];

/// What forms and scripts know of a cluster.
struct Values(Vec<(&'static str, String)>);

/// Writes the folder of the cluster at `place`, all but its logs.
pub(crate) fn write(place: Place, settings: &Settings, programs: &Programs) -> Result<()> {
    let folder = place.folder();
    for part in ["", "conf", "cni.d", "pki", "logs", "state"] {
        DirBuilder::new()
            .mode(0o700)
            .create(folder.join(part))
            .with_context(|| format!("{}/{part}", folder.display()))?;
    }
    certificates::write(&folder.join("pki"), place)?;
    let values = Values::of(place, settings, programs);
    for (form, target) in FORMS {
        values.fill(form, &folder.join(target))?;
    }
    let form = match settings.containerd {
        Containerd::Two => "containerd.toml",
        Containerd::OneSeven => "containerd-1.7.toml",
    };
    values.fill(form, &folder.join("conf/containerd.toml"))?;
    // The node asks nobody outside.
    fs::write(folder.join("conf/resolv.conf"), "")?;
    for access in [Access::Public, Access::Private] {
        let address = access.address(place);
        lead(place, &address, &address)?;
    }
    fs::write(folder.join("node.env"), values.for_scripts())?;
    Ok(())
}

/// Leads containerd to the registry at `address` for images whose name begins with `name`, and lets it believe that one.
pub(crate) fn lead(place: Place, name: &str, address: &str) -> Result<()> {
    let folder = place.folder();
    let hosts = folder.join("certs.d").join(name);
    fs::create_dir_all(&hosts)?;
    let authority = folder.join("pki/ca.crt");
    fs::write(hosts.join("hosts.toml"), format!("[host.\"https://{address}\"]\n  ca = \"{}\"\n", authority.display()))?;
    Ok(())
}

impl Values {
    fn of(place: Place, settings: &Settings, programs: &Programs) -> Self {
        let text = |path: PathBuf| path.display().to_string();
        Self(vec![
            ("FOLDER", text(place.folder())),
            ("STATE", text(place.state())),
            ("NODE_NAME", place.node_name()),
            ("NODE_IP", place.node_ip().to_string()),
            ("OUTSIDE_IP", place.outside_ip().to_string()),
            ("POD_CIDR", place.pod_cidr()),
            ("SERVICE_CIDR", place.service_cidr()),
            ("GROUP", place.group()),
            ("PAUSE_IMAGE", PAUSE_IMAGE.to_owned()),
            ("CONTAINERD_SOCKET", text(place.state().join("containerd.sock"))),
            ("PROGRAMS", text(programs.folder().to_owned())),
            ("PROGRAMS_OF_NODE", text(programs::node_scripts())),
            // The ones by which the components know their surroundings.
            ("PATH", path(settings, programs)),
            ("LD_LIBRARY_PATH", text(programs.lib())),
            ("XTABLES_LIBDIR", text(programs.lib().join("xtables"))),
            ("KUBECONFIG", text(place.folder().join("pki/admin.kubeconfig"))),
            ("CONTAINERD_ADDRESS", text(place.state().join("containerd.sock"))),
            ("CONTAINERD_NAMESPACE", "k8s.io".to_owned()),
            ("HOME", text(place.state())),
        ])
    }

    fn fill(&self, form: &str, target: &Path) -> Result<()> {
        let path = programs::node_scripts().join("conf").join(form);
        let form = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let fill = |text: String, (name, value): &(&str, String)| text.replace(&format!("@{name}@"), value);
        let filled = self.0.iter().fold(form, fill);
        let left = filled.lines().find(|line| line.split('@').nth(1).is_some_and(is_name));
        ensure!(left.is_none(), "{}: nobody knows a name in {left:?}", path.display());
        fs::write(target, filled).with_context(|| format!("{} cannot be written", target.display()))
    }

    /// To be sourced by bash. No value has a quote in it: all are made of our own names, but for the paths of the
    /// repository and the cache.
    fn for_scripts(&self) -> String {
        self.0.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect()
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// Where the node's components find programs: the shim, what was built, what the machine has.
fn path(settings: &Settings, programs: &Programs) -> String {
    let shim = settings.shim.iter().map(|folder| folder.display().to_string());
    let containerd = match settings.containerd {
        Containerd::Two => None,
        Containerd::OneSeven => Some(programs.containerd_one_seven().display().to_string()),
    };
    let rest = [programs.bin().display().to_string(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    shim.chain(containerd).chain(rest).collect::<Vec<_>>().join(":")
}
