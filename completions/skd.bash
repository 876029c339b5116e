# Completions of skd(8) for bash, printed by skd --completion bash.
# shellcheck shell=bash

# What is known of an option.
_skd_option() {
	kind='' few='' again=''
	case $1 in
	-t | --tcp) name=--tcp kind='address' few='' again=1 ;;
	-u | --udp) name=--udp kind='address' few='' again=1 ;;
	-i | --inet) name=--inet kind='address' few='' again=1 ;;
	-l | -x | --unix) name=--unix kind='file' few='' again=1 ;;
	-s | --stream) name=--stream kind='' few='' ;;
	-d | --datagram) name=--datagram kind='' few='' ;;
	--seqpacket) name=--seqpacket kind='' few='' ;;
	--vsock) name=--vsock kind='free' few='' again=1 ;;
	-4 | --ipv4) name=--ipv4 kind='' few='' ;;
	-6 | --ipv6) name=--ipv6 kind='' few='' ;;
	--adopt) name=--adopt kind='words' few='stdin fd: s6 s6: listen-fds listen-fds:' again=1 ;;
	-0) name=-0 kind='' few='' ;;
	--no-adopt) name=--no-adopt kind='' few='' ;;
	-b | --backlog) name=--backlog kind='free' few='' ;;
	-n | --nodelay) name=--nodelay kind='' few='' ;;
	--mode) name=--mode kind='free' few='' ;;
	--owner) name=--owner kind='user' few='' ;;
	--reuse-port) name=--reuse-port kind='' few='' ;;
	--freebind) name=--freebind kind='' few='' ;;
	--bind-to-device) name=--bind-to-device kind='interface' few='' ;;
	--keepalive) name=--keepalive kind='' few='' ;;
	--defer-accept) name=--defer-accept kind='free' few='' ;;
	--mptcp) name=--mptcp kind='' few='' ;;
	-1 | --print-port) name=--print-port kind='' few='' ;;
	-c | --max-connections) name=--max-connections kind='free' few='' ;;
	-C | --max-per-source) name=--max-per-source kind='free' few='' ;;
	-r | --refuse) name=--refuse kind='free' few='' ;;
	--rate) name=--rate kind='free' few='' ;;
	--rate-per-source) name=--rate-per-source kind='free' few='' ;;
	-w | --wait) name=--wait kind='' few='' ;;
	-E | --exec) name=--exec kind='' few='' ;;
	--pass) name=--pass kind='words' few='stdin listen-fds both' ;;
	-e | --stderr-to-client) name=--stderr-to-client kind='' few='' ;;
	--idle-exit) name=--idle-exit kind='free' few='' ;;
	--drain) name=--drain kind='free' few='' ;;
	--allow) name=--allow kind='free' few='' again=1 ;;
	--deny) name=--deny kind='free' few='' again=1 ;;
	--rules) name=--rules kind='file' few='' ;;
	--proxy-from) name=--proxy-from kind='free' few='' ;;
	--proxy-timeout) name=--proxy-timeout kind='free' few='' ;;
	--resolve) name=--resolve kind='' few='' ;;
	--ident) name=--ident kind='' few='' ;;
	--lookup-timeout) name=--lookup-timeout kind='free' few='' ;;
	--check-peer) name=--check-peer kind='free' few='' ;;
	-U | --env-ids) name=--env-ids kind='' few='' ;;
	--user) name=--user kind='user' few='' ;;
	--groups) name=--groups kind='groups' few='' ;;
	--chroot) name=--chroot kind='folder' few='' ;;
	--chdir) name=--chdir kind='folder' few='' ;;
	--umask) name=--umask kind='free' few='' ;;
	--no-new-privs) name=--no-new-privs kind='' few='' ;;
	--proto) name=--proto kind='free' few='' ;;
	--tcp6) name=--tcp6 kind='' few='' ;;
	-B | --background) name=--background kind='' few='' ;;
	-P | --pidfile) name=--pidfile kind='file' few='' ;;
	-L | --log) name=--log kind='log' few='' ;;
	-S | --supervise) name=--supervise kind='' few='' ;;
	-v | --verbose) name=--verbose kind='' few='' again=1 ;;
	-q | --quiet) name=--quiet kind='' few='' ;;
	--log-format) name=--log-format kind='words' few='text json' ;;
	--ready-fd) name=--ready-fd kind='free' few='' ;;
	--fdstore) name=--fdstore kind='' few='' ;;
	--metrics) name=--metrics kind='place' few='' ;;
	--inetd-conf) name=--inetd-conf kind='file' few='' ;;
	--check) name=--check kind='' few='' ;;
	--completion) name=--completion kind='words' few='bash zsh fish' ;;
	-h | --help) name=--help kind='' few='' ;;
	-V | --version) name=--version kind='' few='' ;;
	*) return 1 ;;
	esac
}

# Letters behind one hyphen, up to a value.
_skd_letters() {
	local at
	kind='' joined=''
	for ((at = 1; at < ${#1}; at++)); do
		_skd_option "-${1:at:1}" || return
		given+="$name "
		if [[ $kind ]]; then
			joined=${1:at+1}
			return
		fi
	done
}

_skd_offer() {
	local word
	for word; do
		[[ $word != "$val"* ]] || COMPREPLY+=("$pre$word")
	done
}

_skd_names() {
	mapfile -t COMPREPLY < <(compgen -P "$pre" "$@" -- "$val")
}

# By readline, if it begins the word where we do.
_skd_files() {
	if [[ $val == "$typed" ]]; then
		compopt -o "$1"
	else
		_skd_names -A "$2"
	fi
}

# Completes what is behind the last $1.
_skd_behind() {
	pre+=${val%"$1"*}$1
	val=${val##*"$1"}
}

# shellcheck disable=SC2086 # few is a list of words
_skd_value() {
	case $1:$val in
		words:*) _skd_offer $few ;;
		folder:*) _skd_files dirnames directory ;;
		address:*:*) _skd_behind : && _skd_names -A service ;;
		address:*)
			_skd_names -A hostname -S :
			local -a hosts=("${COMPREPLY[@]}")
			_skd_names -A service
			COMPREPLY+=("${hosts[@]}")
			;;
		place:*/* | place:[.~]*) _skd_files default file ;;
		place:*)
			_skd_value address
			[[ ${COMPREPLY[*]} ]] || _skd_files default file
			;;
		user:*:*) _skd_behind : && _skd_names -A group ;;
		user:*) _skd_names -A user ;;
		groups:*)
			[[ $val != *,* ]] || _skd_behind ,
			_skd_names -A group
			;;
		interface:*)
			local -a links=(/sys/class/net/*)
			[[ -e ${links[0]} ]] && _skd_offer "${links[@]##*/}"
			;;
		log:'>'*)
			local sign=${val%%[!>[:blank:]]*}
			pre+=$sign val=${val#"$sign"}
			_skd_files default file
			;;
		log:*:*.*) _skd_behind . && _skd_offer emerg alert crit err warning notice info debug  ;;
		log:*:*)
			_skd_behind :
			local -a names=(kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock_daemon local0 local1 local2 local3 local4 local5 local6 local7 )
			_skd_offer "${names[@]/%/.}"
			;;
		file:*) _skd_files default file ;;
	esac
}

# $1: where PROG is, $2: whether it is whole.
_skd_prog() {
	if declare -F _comp_command_offset >/dev/null; then
		_comp_command_offset "$1"
	elif declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif (($2)); then
		compopt -o default
	else
		_skd_names -A command
		compopt -o filenames -o default
	fi
}

_skd_options() {
	local option name kind few again
	for option in -t --tcp -u --udp -i --inet -l -x --unix -s --stream -d --datagram --seqpacket --vsock -4 --ipv4 -6 --ipv6 --adopt -0 --no-adopt -b --backlog -n --nodelay --mode --owner --reuse-port --freebind --bind-to-device --keepalive --defer-accept --mptcp -1 --print-port -c --max-connections -C --max-per-source -r --refuse --rate --rate-per-source -w --wait -E --exec --pass -e --stderr-to-client --idle-exit --drain --allow --deny --rules --proxy-from --proxy-timeout --resolve --ident --lookup-timeout --check-peer -U --env-ids --user --groups --chroot --chdir --umask --no-new-privs --proto --tcp6 -B --background -P --pidfile -L --log -S --supervise -v --verbose -q --quiet --log-format --ready-fd --fdstore --metrics --inetd-conf --check --completion -h --help -V --version ; do
		_skd_option "$option"
		[[ ! $again && $given == *" $name "* ]] || _skd_offer "$option"
	done
}

_skd() {
	local typed=${2-} line=${COMP_LINE:0:COMP_POINT} i gap piece
	local -a words=() places=()
	COMPREPLY=()
	# bash divides words at ":" and "=" too.
	for ((i = 0; i <= COMP_CWORD; i++)); do
		gap=${line%%[![:space:]]*}
		line=${line#"$gap"}
		piece=${COMP_WORDS[i]}
		((i < COMP_CWORD)) || piece=$line
		line=${line#"$piece"}
		if [[ $gap ]] || ((i == 0)); then
			words+=("$piece") places+=("$i")
		else
			words[${#words[@]} - 1]+=$piece
		fi
	done
	local last=$((${#words[@]} - 1)) prog='' value='' given=' ' name='' kind='' few='' again='' joined='' pre=''
	local cur=${words[last]//[\'\"]/} val
	val=$cur
	for ((i = 1; i < last && !prog; i++)); do
		if [[ $value ]]; then
			value=''
			continue
		fi
		case ${words[i]} in
			--) prog=$((i + 1)) ;;
			--*)
				_skd_option "${words[i]%%=*}" && given+="$name "
				[[ ${words[i]} == *=* ]] || value=$kind
				;;
			-?*)
				_skd_letters "${words[i]}"
				[[ $joined ]] || value=$kind
				;;
			*) prog=$i ;;
		esac
	done
	if [[ $prog ]]; then
		_skd_prog "${places[prog]}" "$((prog < last))"
		return
	fi
	if [[ $value ]]; then
		_skd_value "$value"
	else
		case $cur in
			--*=*)
				pre=${cur%%=*}= val=${cur#*=}
				_skd_option "${cur%%=*}" && _skd_value "$kind"
				;;
			-*)
				_skd_options
				if [[ $cur != --* ]] && _skd_letters "$cur"; then
					if [[ $joined ]]; then
						COMPREPLY=() pre=${cur%"$joined"} val=$joined
						_skd_value "$kind"
					elif ((${#cur} > 2)); then
						COMPREPLY=("$cur")
					fi
				fi
				;;
			*)
				_skd_prog "${places[last]}" 0
				return
				;;
		esac
	fi
	((${#COMPREPLY[@]})) || return 0
	local before=${cur%"$typed"}
	COMPREPLY=("${COMPREPLY[@]#"$before"}")
	[[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[:.] ]] || compopt -o nospace
}

complete -F _skd skd
