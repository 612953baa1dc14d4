#compdef tokenctl
# Completion of tokenctl for zsh:  source <(tokenctl completion zsh)

_tokenctl() {
    local -a found
    # Of what was typed only the words up to the cursor count.
    found=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case ${found[1]} in
    :file)
        _files
        ;;
    :command)
        # The rest is a command line of its own.
        local -i dashes=${words[(i)--]}
        shift $dashes words
        ((CURRENT -= dashes))
        _normal
        ;;
    ?*)
        compadd -- "${found[@]}"
        ;;
    esac
}

if [[ ${funcstack[1]} == _tokenctl ]]; then
    _tokenctl "$@" # as a file of $fpath
else
    compdef _tokenctl tokenctl
fi
