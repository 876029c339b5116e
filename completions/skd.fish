# Completions of skd(8) for fish, printed by skd --completion fish.

# Prints where PROG is, once the options are over.
function _skd_start
	set -l words (commandline -opc)
	set -l at 2
	while set -q words[$at]
		switch $words[$at]
			case --
				math $at + 1
				return
			case '--*'
				contains -- $words[$at] --tcp --udp --inet --unix --vsock --adopt --backlog --mode --owner --bind-to-device --defer-accept --max-connections --max-per-source --refuse --rate --rate-per-source --pass --idle-exit --drain --allow --deny --rules --proxy-from --proxy-timeout --lookup-timeout --check-peer --user --groups --chroot --chdir --umask --proto --pidfile --log --log-format --ready-fd --metrics --inetd-conf --completion 
				and set at (math $at + 1)
			case '-?*'
				# The first letter that takes a value is the last.
				string match -qr -- '^-[^tuilxbcCrPL]*[tuilxbcCrPL]$' $words[$at]
				and set at (math $at + 1)
			case '*'
				echo $at
				return
		end
		set at (math $at + 1)
	end
	return 1
end

# Whether an option of these names may stand; one whose value is completed does.
function _skd_may
	not _skd_start >/dev/null
	or return
	set -l word (commandline -ct)
	not string match -q -- '-*' $word
	or not string match -qr -- "^($(string join '|' -- $argv))(=|\$)" (commandline -opc)
end

function _skd_prog
	set -l words (commandline -opc)
	set -l place (_skd_start)
	set -l word (commandline -ct)
	set -l before
	if not set -q place[1]
		string match -q -- '-*' $word
		and return
	else if set -q words[$place]
		set before (string escape -- $words[$place..])
	end
	complete --do-complete=(string join ' ' -- $before "$word")
end

function _skd_folder
	__fish_complete_directories (_skd_word)
end

function _skd_interface
	__fish_print_interfaces
end

# Without the option that is joined to it.
function _skd_word
	commandline -ct | string replace -r -- '^-[^=]*=' '' | string replace -ra -- '["\']' ''
end

function _skd_address
	set -l word (_skd_word)
	set -l before (string match -r -- '.*:' $word)
	string replace -rf -- '^([a-z][\w.-]*)\s+\d+/.*' "$before\$1" </etc/services
	set -q before[1]
	or __fish_print_hostnames | string replace -r '$' :
end

function _skd_user
	set -l before (string match -r -- '.*:' (_skd_word))
	if set -q before[1]
		__fish_complete_groups | string replace -r '^' $before
	else
		__fish_complete_users
	end
end

function _skd_groups
	set -l before (string match -r -- '.*,' (_skd_word))
	__fish_complete_groups | string replace -r '^' "$before"
end

function _skd_log
	set -l word (_skd_word)
	switch $word
		case '>*'
			set -l sign (string match -r -- '^>+\s*' $word)
			set -l path (string replace -- $sign '' $word)
			complete -C "_skd_file $path" | string replace -r '^' $sign
		case '*:*.*'
			string replace -r -- '^' (string match -r -- '.*\.' $word) emerg alert crit err warning notice info debug 
		case '*:*'
			string replace -r -- '(.*)' (string match -r -- '.*:' $word)'$1.' kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock_daemon local0 local1 local2 local3 local4 local5 local6 local7 
	end
end

complete -c skd -f
complete -c skd -a '(_skd_prog)'
complete -c skd -n '_skd_may ' -s t -l tcp -xa '(_skd_address)' -d 'TCP listener on [HOST:]PORT'
complete -c skd -n '_skd_may ' -s u -l udp -xa '(_skd_address)' -d 'UDP socket on [HOST:]PORT'
complete -c skd -n '_skd_may ' -s i -l inet -xa '(_skd_address)' -d 'internet socket of the style -s or -d'
complete -c skd -n '_skd_may ' -s l -s x -l unix -rF -d 'unix socket at PATH or @NAME (also -x)'
complete -c skd -n '_skd_may -s --stream' -s s -l stream -d '-i and -l are stream sockets [this]'
complete -c skd -n '_skd_may -d --datagram' -s d -l datagram -d '-i and -l are datagram sockets'
complete -c skd -n '_skd_may --seqpacket' -l seqpacket -d '-l is a seqpacket socket'
complete -c skd -n '_skd_may ' -l vsock -x -d 'vsock stream listener [any CID]'
complete -c skd -n '_skd_may -4 --ipv4' -s 4 -l ipv4 -d 'IPv4 only'
complete -c skd -n '_skd_may -6 --ipv6' -s 6 -l ipv6 -d 'IPv6 only'
complete -c skd -n '_skd_may ' -l adopt -xa 'stdin fd: s6 s6: listen-fds listen-fds:' -d 'take stdin, fd:N, s6[:ID] or listen-fds[:NAME]'
complete -c skd -n '_skd_may -0' -s 0 -d 'the same as --adopt stdin'
complete -c skd -n '_skd_may --no-adopt' -l no-adopt -d 'ignore LISTEN_FDS'
complete -c skd -n '_skd_may -b --backlog' -s b -l backlog -x -d 'clients that may wait [4096]'
complete -c skd -n '_skd_may -n --nodelay' -s n -l nodelay -d 'TCP_NODELAY on every TCP connection'
complete -c skd -n '_skd_may --mode' -l mode -x -d 'mode of unix socket files [umask]'
complete -c skd -n '_skd_may --owner' -l owner -xa '(_skd_user)' -d 'owner of unix socket files [caller]'
complete -c skd -n '_skd_may --reuse-port' -l reuse-port -d 'share ports with others of the same user'
complete -c skd -n '_skd_may --freebind' -l freebind -d 'bind addresses that are not there yet'
complete -c skd -n '_skd_may --bind-to-device' -l bind-to-device -xa '(_skd_interface)' -d 'only what comes in by this interface'
complete -c skd -n '_skd_may --keepalive' -l keepalive -d 'find dead TCP clients [off]'
complete -c skd -n '_skd_may --defer-accept' -l defer-accept -x -d 'TCP clients must speak first [off]'
complete -c skd -n '_skd_may --mptcp' -l mptcp -d '-t and -i listen with MPTCP'
complete -c skd -n '_skd_may -1 --print-port' -s 1 -l print-port -d 'print the port of every internet socket'
complete -c skd -n '_skd_may -c --max-connections' -s c -l max-connections -x -d 'children at once; more clients wait [no limit]'
complete -c skd -n '_skd_may -C --max-per-source' -s C -l max-per-source -x -d 'children at once of one source [no limit]'
complete -c skd -n '_skd_may -r --refuse' -s r -l refuse -x -d 'send MESSAGE to whom a limit keeps out'
complete -c skd -n '_skd_may --rate' -l rate -x -d 'let in N per SECS; more clients wait'
complete -c skd -n '_skd_may --rate-per-source' -l rate-per-source -x -d 'let in N per SECS of one source; refuse more'
complete -c skd -n '_skd_may -w --wait' -s w -l wait -d 'start PROG with the listener when a client waits'
complete -c skd -n '_skd_may -E --exec' -s E -l exec -d 'become PROG at once, with the listeners'
complete -c skd -n '_skd_may --pass' -l pass -xa 'stdin listen-fds both' -d 'a listener is passed by stdin, listen-fds, both'
complete -c skd -n '_skd_may -e --stderr-to-client' -s e -l stderr-to-client -d 'the child\'s stderr is the connection too'
complete -c skd -n '_skd_may --idle-exit' -l idle-exit -x -d 'exit 0 after SECS without a connection'
complete -c skd -n '_skd_may --drain' -l drain -x -d 'wait so long for children when told to stop'
complete -c skd -n '_skd_may ' -l allow -x -d 'let in only these peers'
complete -c skd -n '_skd_may ' -l deny -x -d 'let in none of these peers'
complete -c skd -n '_skd_may --rules' -l rules -rF -d 'let in whom these rules allow, skd-rules(5)'
complete -c skd -n '_skd_may --proxy-from' -l proxy-from -x -d 'peers that begin with a PROXY header'
complete -c skd -n '_skd_may --proxy-timeout' -l proxy-timeout -x -d 'for the whole header [3]'
complete -c skd -n '_skd_may --resolve' -l resolve -d 'look up the names of peer and local address'
complete -c skd -n '_skd_may --ident' -l ident -d 'ask the peer\'s ident server'
complete -c skd -n '_skd_may --lookup-timeout' -l lookup-timeout -x -d 'for all look-ups together [5]'
complete -c skd -n '_skd_may --check-peer' -l check-peer -x -d 'tell whether PEER is let in; start nothing'
complete -c skd -n '_skd_may -U --env-ids' -s U -l env-ids -d 'become $UID $GID [$GIDLIST], in $ROOT if set'
complete -c skd -n '_skd_may --user' -l user -xa '(_skd_user)' -d 'become this user'
complete -c skd -n '_skd_may --groups' -l groups -xa '(_skd_groups)' -d 'have these supplementary groups'
complete -c skd -n '_skd_may --chroot' -l chroot -xa '(_skd_folder)' -d 'change the root folder'
complete -c skd -n '_skd_may --chdir' -l chdir -xa '(_skd_folder)' -d 'change the working folder'
complete -c skd -n '_skd_may --umask' -l umask -x -d 'set the umask, after binding'
complete -c skd -n '_skd_may --no-new-privs' -l no-new-privs -d 'no setuid program gains anything'
complete -c skd -n '_skd_may --proto' -l proto -x -d 'the value of PROTO'
complete -c skd -n '_skd_may --tcp6' -l tcp6 -d 'PROTO is TCP6 on IPv6 connections'
complete -c skd -n '_skd_may -B --background' -s B -l background -d 'become a daemon; return when all is ready'
complete -c skd -n '_skd_may -P --pidfile' -s P -l pidfile -rF -d 'write and lock the pid there'
complete -c skd -n '_skd_may -L --log' -s L -l log -xa '(_skd_log)' -d 'stderr to TAG[:FACILITY.PRIORITY], >FILE, >>FILE'
complete -c skd -n '_skd_may -S --supervise' -s S -l supervise -d 'without sockets: restart PROG when it exits'
complete -c skd -n '_skd_may ' -s v -l verbose -d 'log every connection; -vv: also what skd does'
complete -c skd -n '_skd_may -q --quiet' -s q -l quiet -d 'log fatal errors only'
complete -c skd -n '_skd_may --log-format' -l log-format -xa 'text json' -d 'lines are text or json [text]'
complete -c skd -n '_skd_may --ready-fd' -l ready-fd -x -d 'write a newline to descriptor N when ready'
complete -c skd -n '_skd_may --fdstore' -l fdstore -d 'have systemd keep the sockets that skd bound'
complete -c skd -n '_skd_may --metrics' -l metrics -rFa '(_skd_address)' -d 'answer HTTP GET /metrics there'
complete -c skd -n '_skd_may --inetd-conf' -l inetd-conf -rF -d 'serve the services of an inetd.conf(5)'
complete -c skd -n '_skd_may --check' -l check -d 'read everything, bind and start nothing'
complete -c skd -n '_skd_may --completion' -l completion -xa 'bash zsh fish' -d 'print the completions of bash, zsh or fish'
complete -c skd -n '_skd_may -h --help' -s h -l help -d 'print this help'
complete -c skd -n '_skd_may -V --version' -s V -l version -d 'print the version'
