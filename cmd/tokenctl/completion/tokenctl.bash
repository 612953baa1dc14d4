# Completion of tokenctl for bash:  source <(tokenctl completion bash)

_tokenctl() {
    local words
    COMPREPLY=()
    # Of what was typed only the words up to the cursor count.
    mapfile -t words < <("${COMP_WORDS[0]}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case ${words[0]-} in
    :file)
        compopt -o default
        ;;
    :command)
        local i
        for ((i = 1; i < COMP_CWORD; i++)); do
            [[ ${COMP_WORDS[i]} == -- ]] && break
        done
        if ((i + 1 == COMP_CWORD)); then
            mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
        else
            compopt -o default
        fi
        ;;
    *)
        COMPREPLY=("${words[@]}")
        ;;
    esac
}

complete -F _tokenctl tokenctl
