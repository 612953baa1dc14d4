# Completion of tokenctl for fish:  tokenctl completion fish | source

function __tokenctl_complete
    # Of what was typed only the words up to the cursor count.
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete -- $words[2..-1] 2>/dev/null)
    switch "$found[1]"
        case :file
            __fish_complete_path (commandline -ct)
        case :command
            # The rest is a command line of its own.
            set -l dashes (contains -i -- -- $words)
            set -l rest $words[(math $dashes + 1)..-1]
            complete -C (string join -- ' ' (string escape -- $rest[1..-2]) $rest[-1])
        case '*'
            printf '%s\n' $found
    end
end

complete -c tokenctl -f -a '(__tokenctl_complete)'
