# Completions of skd(8) for bash, printed by skd --completion bash.
# shellcheck shell=bash

# What is known of an option.
_skd_option() {
	kind='' few='' again=''
	case $1 in
@{OPTIONS}	*) return 1 ;;
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
		log:*:*.*) _skd_behind . && _skd_offer @{PRIORITIES} ;;
		log:*:*)
			_skd_behind :
			local -a names=(@{FACILITIES})
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
	for option in @{NAMES}; do
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
