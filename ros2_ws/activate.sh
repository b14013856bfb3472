# Puts this workspace in front of a bash or sh: the Python environment, ROS 2 and the built packages.
#
#     source ros2_ws/activate.sh
#
# bootstrap.py must have run once. Sourcing it again changes nothing. With a ROS 2 sourced, that one is used;
# otherwise the wheels in .venv. Python does not read LD_LIBRARY_PATH once it has started, therefore this
# stands before the interpreter and not in it. In sh, which does not know where a sourced file lies,
# source it from the top of the checkout.

_inspatio_here=${BASH_SOURCE:-ros2_ws/activate.sh}
_inspatio_ws=$(cd "$(dirname "$_inspatio_here")" 2>/dev/null && pwd) || _inspatio_ws=
_inspatio_venv=${_inspatio_ws%/ros2_ws}/.venv

# Puts $2 in front of the path list that $1 names, unless it is in it.
_inspatio_prepend() {
    eval "_inspatio_old=\${$1:-}"
    case ":$_inspatio_old:" in
        *":$2:"*) ;;
        *) eval "export $1=\"\$2\${_inspatio_old:+:\$_inspatio_old}\"" ;;
    esac
}

# Sets up the environment; everything that can go wrong is in its one line.
_inspatio_activate() {
    if [ ! -f "$_inspatio_ws/bootstrap.py" ]; then
        echo "activate.sh: not found from here; source it from the top of the checkout" >&2
        return 1
    fi
    if [ ! -f "$_inspatio_venv/made_for" ]; then
        echo "activate.sh: $_inspatio_venv is not there or not whole; run: python3 $_inspatio_ws/bootstrap.py" >&2
        return 1
    fi
    read -r _inspatio_made_for < "$_inspatio_venv/made_for"
    if [ "$_inspatio_made_for" != "${ROS_DISTRO:-wheels}" ]; then
        echo "activate.sh: $_inspatio_venv was made for ROS 2 '$_inspatio_made_for'," \
            "but '${ROS_DISTRO:-wheels}' is in use; run: python3 $_inspatio_ws/bootstrap.py" >&2
        return 1
    fi
    export VIRTUAL_ENV="$_inspatio_venv"
    if [ -n "${ROS_DISTRO:-}" ]; then
        # The prefix scripts of colcon read variables that may be unset.
        case $- in *u*) _inspatio_nounset=1; set +u ;; *) _inspatio_nounset= ;; esac
        COLCON_CURRENT_PREFIX="$_inspatio_ws/install" . "$_inspatio_ws/install/local_setup.sh"
        [ -z "$_inspatio_nounset" ] || set -u
    else
        # The wheels' own start-up hook would find these by starting every Python twice, in random order.
        export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
        for _inspatio_dir in "$_inspatio_venv" "$_inspatio_ws"/underlay/install/*/ "$_inspatio_ws"/install/*/; do
            _inspatio_dir=${_inspatio_dir%/}
            [ -d "$_inspatio_dir/share" ] || continue
            _inspatio_prepend AMENT_PREFIX_PATH "$_inspatio_dir"
            [ ! -d "$_inspatio_dir/lib" ] || _inspatio_prepend LD_LIBRARY_PATH "$_inspatio_dir/lib"
        done
        for _inspatio_dir in "$_inspatio_venv"/lib/python3.*/site-packages/ros_*.libs; do
            [ ! -d "$_inspatio_dir" ] || _inspatio_prepend LD_LIBRARY_PATH "$_inspatio_dir"
        done
        # Messages are installed; Python packages are linked from their build directory to their source.
        for _inspatio_dir in \
            "$_inspatio_ws"/underlay/install/*/lib/python3.*/site-packages \
            "$_inspatio_ws"/install/*/lib/python3.*/site-packages; do
            [ ! -d "$_inspatio_dir" ] || _inspatio_prepend PYTHONPATH "$_inspatio_dir"
        done
        for _inspatio_dir in "$_inspatio_ws"/underlay/build/*/ "$_inspatio_ws"/build/*/; do
            _inspatio_dir=${_inspatio_dir%/}
            [ ! -e "$_inspatio_dir/setup.py" ] || _inspatio_prepend PYTHONPATH "$_inspatio_dir"
        done
    fi
    for _inspatio_dir in "$_inspatio_ws"/install/*/lib/inspatio_sim "$_inspatio_ws"/install/*/bin; do
        [ ! -d "$_inspatio_dir" ] || _inspatio_prepend PATH "$_inspatio_dir"
    done
    _inspatio_prepend PATH "$_inspatio_venv/bin"
}

_inspatio_activate
_inspatio_status=$?
unset -f _inspatio_activate _inspatio_prepend
unset _inspatio_here _inspatio_ws _inspatio_venv _inspatio_old _inspatio_dir _inspatio_made_for _inspatio_nounset
# Ends with the status that was found; the function has said why.
if [ "$_inspatio_status" -eq 0 ]; then unset _inspatio_status; else unset _inspatio_status; false; fi
