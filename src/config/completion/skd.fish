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
				contains -- $words[$at] @{TAKING}
				and set at (math $at + 1)
			case '-?*'
				# The first letter that takes a value is the last.
				string match -qr -- '^-[^@{LETTERS}]*[@{LETTERS}]$' $words[$at]
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
			string replace -r -- '^' (string match -r -- '.*\.' $word) @{PRIORITIES}
		case '*:*'
			string replace -r -- '(.*)' (string match -r -- '.*:' $word)'$1.' @{FACILITIES}
	end
end

complete -c skd -f
complete -c skd -a '(_skd_prog)'
@{OPTIONS}