#!/usr/bin/env bash
# Emulates machines with namespaces. Each has separate processes, network, /tmp, /dev/shm and sshd,
# and sees this machine's files below an overlay layer that is deleted with it. Run as root:
#
#   machines.sh check      print what is missing; exit 1 if anything is
#   machines.sh start N    boot machines 1 ... N; machine I has the address NET.(FIRST + I - 1)
#   machines.sh cut I      cut the power: no process shuts down, no connection is closed
#   machines.sh stop       stop all machines and remove their leftovers
#
# FOLDER holds their layers, key and logs; SHARED is a folder that all see at the same path. Each
# machine needs a PID namespace, because `ray stop` ends every process of Ray that it sees.
set -euo pipefail

[ "${1:-}" = check ] || FOLDER=${FOLDER:?a folder for the layers}
[ "${1:-}" = check ] || SHARED=${SHARED:?a folder that every machine sees}
BRIDGE=csbridge
NET=${NET:-10.91.0} # the machines' network; .1 in it is this machine
PREFIX=${PREFIX:-24}
FIRST=${FIRST:-11} # the last number of machine 1's address

address() { echo "$NET.$((FIRST - 1 + $1))"; }

check() {
  local name found folder
  [ "$(id -u)" = 0 ] || { echo "it takes root" && return 1; }
  for name in ip sshd ssh ssh-keygen rsync curl unshare setsid flock pgrep hostname uv pip; do
    PATH=$PATH:/usr/sbin command -v $name > /dev/null || { echo "there is no $name" && return 1; }
  done
  pip show -q uv || { echo "pip must have uv, as the machines ask it" && return 1; }
  # A machine sees this one's root file system, except for /tmp.
  for folder in /var/tmp "${UV_CACHE_DIR:-$HOME/.cache}" "$(command -v uv)" "$(command -v pip)"; do
    [[ $(realpath "$folder") != /tmp/* && $(stat -L -c %d "$folder") = $(stat -c %d /) ]] ||
      { echo "$folder must lie on the root file system, outside of /tmp" && return 1; }
  done
  [ "$(df --output=avail -B G /var/tmp | tail -n 1 | tr -dc 0-9)" -ge 10 ] ||
    { echo "there must be 10 GB free in /var/tmp" && return 1; }
  for name in 10.91.0 172.31.0; do
    found=$(ip -4 route show | grep -m 1 "^${name%.*}.*") &&
      { echo "the machines' addresses must be free, got the route $found" && return 1; }
  done
  found=$(unshare --mount --net --pid --fork --uts --ipc bash -e -c '
    mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir upper work root
    mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
    ip link add bridge type bridge
    ip link add one type veth peer name two
    mkdir pts && mount -t devpts -o newinstance devpts pts' 2>&1) ||
    { echo "no machine can be made here: $found" && return 1; }
}

boot() { # boot I: inside the new namespaces, the last command is the machine's own sshd
  local layer=$FOLDER/machines/$1 root=$FOLDER/machines/$1/root
  mount -t overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" overlay "$root"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount -t tmpfs tmpfs "$root/dev"
  local device
  for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
  done
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  mount -t tmpfs -o size=1g tmpfs "$root/dev/shm"
  mount -t tmpfs -o size=2g,mode=1777 tmpfs "$root/tmp"
  mkdir -p "$root$SHARED" "$root/run/sshd" "$root/root/.ssh"
  mount --bind "$SHARED" "$root$SHARED"
  install -m 600 "$FOLDER/key.pub" "$root/root/.ssh/authorized_keys"
  hostname "cluster-$1"
  chroot "$root" ssh-keygen -A > /dev/null
  # Namespaces inherit the caller's nice value, so the machines do not slow down other processes.
  exec chroot "$root" /usr/sbin/sshd -D -e -o PermitRootLogin=prohibit-password \
    -o PasswordAuthentication=no -o StrictModes=no -o UsePAM=no -o PidFile=none -o PrintMotd=no
}

start_one() {
  local i=$1 space=csweep$1 layer=$FOLDER/machines/$1
  rm -rf "$layer" && mkdir -p "$layer"/{upper,work,root}
  ip netns add "$space"
  ip link add "$space" type veth peer name eth0 netns "$space"
  ip link set "$space" master $BRIDGE up
  ip -n "$space" addr add "$(address "$i")/$PREFIX" dev eth0
  ip -n "$space" link set lo up
  ip -n "$space" link set eth0 up
  # Ray derives a machine's address from its route to the internet, which ends at this machine.
  ip -n "$space" route add default via $NET.1
  ip -n "$space" route add unreachable 169.254.0.0/16
  setsid ip netns exec "$space" unshare --mount --propagation private --pid --fork --uts --ipc \
    --kill-child "$0" boot "$i" > "$layer/log" 2>&1 < /dev/null &
  echo $! > "$layer/pid"
}

await_ssh() {
  local try
  for try in $(seq 100); do
    ssh -i "$FOLDER/key" -o BatchMode=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR \
      -o UserKnownHostsFile=/dev/null -o ConnectTimeout=2 "root@$(address "$1")" true 2> /dev/null && return 0
    sleep 0.3
  done
  echo "machine $1 must answer ssh, got no answer; its log is $FOLDER/machines/$1/log" >&2
  return 1
}

start() {
  mkdir -p "$FOLDER" "$SHARED"
  # An overlay's upper layer must not lie in its lower one, which is this machine's /.
  mountpoint -q "$FOLDER/machines" || {
    mkdir -p "$FOLDER/machines"
    mount -t tmpfs -o size=6g tmpfs "$FOLDER/machines"
  }
  [ -f "$FOLDER/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/key"
  ip link show $BRIDGE > /dev/null 2>&1 || {
    ip link add $BRIDGE type bridge
    ip addr add $NET.1/$PREFIX dev $BRIDGE
    ip link set $BRIDGE up
  }
  local i
  for i in $(seq "$1"); do start_one "$i"; done
  for i in $(seq "$1"); do await_ssh "$i"; done
}

cut() { # cut the network first, so that the dying processes send nothing
  ip link set "csweep$1" down
  kill -9 "$(cat "$FOLDER/machines/$1/pid")"
  rm "$FOLDER/machines/$1/pid" # another process may have this ID by the time of `stop`
  ip netns del "csweep$1"
}

stop() {
  local file space
  for file in "$FOLDER"/machines/*/pid; do
    [ -f "$file" ] && kill -9 "$(cat "$file")" 2> /dev/null || true
  done
  sleep 1
  for space in $(ip netns list | awk '/^csweep/ { print $1 }'); do ip netns del "$space"; done
  # A namespace outlives its name until its last process ends, and its link would collide with a new
  # one, so the links are deleted too.
  for space in $(ip -o link | grep -o 'csweep[0-9]*@' | tr -d @); do ip link del "$space" || true; done
  ip link del $BRIDGE 2> /dev/null || true
  umount -l "$FOLDER/machines" 2> /dev/null || true
  rmdir "$FOLDER/machines" 2> /dev/null || true
}

case "${1:-}" in
  check) check ;;
  start) start "$2" ;;
  cut) cut "$2" ;;
  stop) stop ;;
  boot) boot "$2" ;;
  *) echo "usage: machines.sh check | start N | cut I | stop" >&2 && exit 2 ;;
esac
