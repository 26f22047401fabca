# Completion of clpctl for bash: clpctl itself says what could come next (client/clpctl_complete.c).
_clpctl() {
    local word words=() line kind= ending quoted cur=${COMP_WORDS[COMP_CWORD]} i
    for ((i = 1; i <= COMP_CWORD; i++)); do # bash takes --name=value apart
        word=${COMP_WORDS[i]}
        if ((${#words[@]})) && [[ $word == = || (${words[-1]} == --*= && ${COMP_WORDS[i - 1]} == =) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    [[ $cur == = ]] && cur=
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ -z $kind ]]; then
            kind=$line
        elif [[ ${line%%$'\t'*} == "$cur"* ]]; then
            printf -v quoted %q "${line%%$'\t'*}"
            COMPREPLY+=("$quoted")
        fi
    done < <("${COMP_WORDS[0]/#\~/$HOME}" __complete "${words[@]}" 2>/dev/null)
    [[ $kind == :files* ]] || return 0
    compopt -o filenames 2>/dev/null
    if [[ $kind == :files ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return 0
    fi
    mapfile -t COMPREPLY < <(compgen -d -- "$cur")
    for ending in ${kind#:files }; do
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -X "!*.$ending" -- "$cur")
    done
}
complete -F _clpctl clpctl
