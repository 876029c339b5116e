//! From whom to become, by name, to having become it.

use crate::model::daemon::{Id, Identity, Privileges, UserSpec};
use crate::model::error::{Fatal, Kind};
use crate::model::number;
use crate::model::text::Quoted;
use crate::sys::identity::{self, Ids, Stuck};
use crate::sys::{names, process};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What is to be given up, with every name looked up: nothing of it needs a file any more.
pub(crate) struct PrivilegeDrop {
    pub(crate) ids: Ids,
    chroot: Option<CString>,
    chdir: Option<CString>,
    umask: Option<u32>,
    no_new_privs: bool,
    /// A root folder of its own is to be entered, or has been.
    pub(crate) has_jail: bool,
}

impl PrivilegeDrop {
    /// Looks up users and groups. `is_entered` says that umask, root folder and working folder are as asked for already.
    ///
    /// # Errors
    /// 100 for unknown names and for missing or malformed variables; 111 if we are not root and would have to be.
    pub(crate) fn of(
        privileges: &Privileges,
        environment: &[(OsString, OsString)],
        is_entered: bool,
    ) -> Result<Self, Fatal> {
        let root = match &privileges.identity {
            Identity::Environment => {
                let root = var(environment, "ROOT").filter(|root| !root.is_empty());
                root.map(OsStr::to_owned)
            }
            Identity::Unchanged | Identity::Named { .. } | Identity::Numbers { .. } => {
                privileges.chroot.clone()
            }
        };
        let ids = match &privileges.identity {
            // They were given up by the skd before us; here their names may not be known.
            _ if is_entered => Ids::default(),
            Identity::Unchanged => Ids::default(),
            Identity::Named { user, groups } => named(user.as_ref(), groups.as_deref())?,
            Identity::Environment => from_environment(environment)?,
            Identity::Numbers { uid, gid } => numbers(environment, *uid, *gid)?,
        };
        let path = |path: &Option<OsString>| {
            path.as_ref()
                .and_then(|path| CString::new(path.as_bytes()).ok())
        };
        let mut it = Self {
            ids,
            chroot: path(&root),
            chdir: path(&privileges.chdir),
            umask: privileges.umask,
            no_new_privs: privileges.no_new_privs,
            has_jail: root.is_some(),
        };
        if is_entered {
            (it.chroot, it.chdir, it.umask) = (None, None, None);
        }
        if identity::is_root() {
            return Ok(it);
        }
        if it.chroot.is_some() {
            return Err(Fatal::unable("change the root folder", "skd is not root"));
        }
        if !it.ids.are_ours() {
            return Err(Fatal::unable("change user or groups", "skd is not root"));
        }
        Ok(it)
    }

    /// umask, chroot, chdir, in this order: what a program is looked up in.
    ///
    /// # Errors
    /// 111, naming what could not be done.
    pub(crate) fn enter(&self) -> Result<(), Fatal> {
        if let Some(bits) = self.umask {
            process::set_umask(bits);
        }
        if let Some(root) = &self.chroot {
            let deed = format!("change the root folder to {}", Quoted(root.as_bytes()));
            identity::enter_root(root).map_err(|errno| Fatal::unable(deed, errno))?;
        }
        if let Some(folder) = &self.chdir {
            let deed = format!("change the folder to {}", Quoted(folder.as_bytes()));
            identity::enter_folder(folder).map_err(|errno| Fatal::unable(deed, errno))?;
        }
        Ok(())
    }

    /// Groups, gid, uid, no_new_privs, in this order, after `enter`.
    ///
    /// # Errors
    /// 111, naming what could not be done.
    pub(crate) fn carry_out(&self) -> Result<(), Fatal> {
        self.ids
            .become_them()
            .map_err(|stuck: Stuck| Fatal::system(stuck.to_string()))?;
        if self.no_new_privs {
            identity::forbid_new_privileges()
                .map_err(|errno| Fatal::unable("forbid new privileges", errno))?;
        }
        Ok(())
    }
}

fn var<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment
        .iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.as_os_str())
}

/// Numbers, and no group besides.
fn numbers(
    environment: &[(OsString, OsString)],
    uid: Option<Id>,
    gid: Option<Id>,
) -> Result<Ids, Fatal> {
    let id = |id: Id| match id {
        Id::Number(number) => Ok(number),
        Id::Variable(name) => id_in(environment, name, "-U"),
    };
    let (uid, gid) = (uid.map(id).transpose()?, gid.map(id).transpose()?);
    Ok(Ids {
        uid,
        gid,
        groups: Some(gid.into_iter().collect()),
    })
}

/// The id that a variable holds, as an option needs it.
fn id_in(environment: &[(OsString, OsString)], name: &str, option: &str) -> Result<u32, Fatal> {
    let Some(text) = var(environment, name) else {
        let text = format!("{name} is not set, as {option} needs it");
        return Err(Fatal::configuration(text));
    };
    let id = text.to_str().and_then(number::id);
    id.ok_or_else(|| Fatal::configuration(format!("{name} is {}, no id", Quoted(text.as_bytes()))))
}

/// UID and GID, both required; groups are GIDLIST or just GID.
fn from_environment(environment: &[(OsString, OsString)]) -> Result<Ids, Fatal> {
    let id = |name: &str| id_in(environment, name, "--env-ids");
    let (uid, gid) = (id("UID")?, id("GID")?);
    // s6-envuidgid sets it to nothing for a user who is in no further group.
    let list = var(environment, "GIDLIST").filter(|list| !list.is_empty());
    let groups = match list {
        None => vec![gid],
        Some(text) => {
            let ids = text.to_str().and_then(|text| {
                text.split(',')
                    .map(number::id)
                    .collect::<Option<Vec<u32>>>()
            });
            let wrong = || {
                Fatal::configuration(format!(
                    "GIDLIST is {}, no list of ids",
                    Quoted(text.as_bytes())
                ))
            };
            ids.ok_or_else(wrong)?
        }
    };
    Ok(Ids {
        uid: Some(uid),
        gid: Some(gid),
        groups: Some(groups),
    })
}

/// A user alone brings its primary and supplementary groups; USER:GROUP has just GROUP; a list replaces the
/// supplementary ones.
fn named(user: Option<&UserSpec>, groups: Option<&[String]>) -> Result<Ids, Fatal> {
    let of_option = |option: &'static str| {
        move |fatal: Fatal| match fatal.kind {
            Kind::System | Kind::Program { .. } => fatal,
            Kind::Usage | Kind::Configuration => Fatal::usage(format!("{option}: {}", fatal.text)),
        }
    };
    let ids = user.map(ids_of).transpose().map_err(of_option("--user"))?;
    let mut ids = ids.unwrap_or_default();
    if let Some(groups) = groups {
        let groups = groups.iter().map(|group| gid_of(group));
        let groups = groups.collect::<Result<_, _>>();
        ids.groups = Some(groups.map_err(of_option("--groups"))?);
    }
    Ok(ids)
}

/// Who a user is, by name or number: with its primary and supplementary groups, or with just GROUP.
///
/// # Errors
/// 100: there is no such user or group; 111: the groups cannot be found out.
pub(crate) fn ids_of(spec: &UserSpec) -> Result<Ids, Fatal> {
    let UserSpec { user, group } = spec;
    let Some(group) = group else {
        return whole_user(user);
    };
    let uid = names::user(user).map(|(uid, _)| uid);
    let uid = uid.or_else(|| number::id(user));
    let gid = gid_of(group)?;
    Ok(Ids {
        uid: Some(uid.ok_or_else(|| unknown("user", user))?),
        gid: Some(gid),
        groups: Some(vec![gid]),
    })
}

fn whole_user(user: &str) -> Result<Ids, Fatal> {
    let (uid, name, gid) = match (names::user(user), number::id(user)) {
        (Some((uid, gid)), _) => (uid, user.to_owned(), gid),
        (None, Some(uid)) => match identity::user_of_uid(uid) {
            Some((name, gid)) => (uid, name, gid),
            None => {
                return Err(Fatal::configuration(format!(
                    "{uid} is no user of the system, so :GROUP must follow"
                )));
            }
        },
        (None, None) => return Err(unknown("user", user)),
    };
    let groups = identity::groups_of(&name, gid);
    let groups = groups.map_err(|errno| {
        Fatal::unable(
            format!("find the groups of {}", Quoted(name.as_bytes())),
            errno,
        )
    })?;
    Ok(Ids {
        uid: Some(uid),
        gid: Some(gid),
        groups: Some(groups),
    })
}

fn gid_of(group: &str) -> Result<u32, Fatal> {
    let gid = names::group(group).or_else(|| number::id(group));
    gid.ok_or_else(|| unknown("group", group))
}

fn unknown(what: &str, name: &str) -> Fatal {
    Fatal::configuration(format!("there is no {what} {}", Quoted(name.as_bytes())))
}
